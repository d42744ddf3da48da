#pragma once

#include <cstdint>

namespace triptych::cpu {

/// Which row of sample b gather_rows takes, of either direction's arguments.
template <typename Args>
int64_t pooled_row(const Args& args, int64_t b) {
  return (args.index == nullptr ? 0 : int64_t{args.index[b]}) + args.index_offset;
}

}  // namespace triptych::cpu
