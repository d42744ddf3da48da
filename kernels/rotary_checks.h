#pragma once

#include "base/error.h"
#include "kernels/rotary.h"

namespace triptych::kernels {

/// What the implementations of rotary check.
inline void check_rotary(const RotaryArgs& args) {
  TRIPTYCH_CHECK(args.head_dim > 0 && args.head_dim % 2 == 0 && args.cols % args.head_dim == 0,
                 "rotary needs heads of an even number of columns, found {} of {}", args.head_dim, args.cols);
  TRIPTYCH_CHECK(args.rotated >= 0 && args.rotated <= args.parts, "rotary of {} of {} parts", args.rotated, args.parts);
}

}  // namespace triptych::kernels
