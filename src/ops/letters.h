#pragma once

#include <string>

#include "base/rooms.h"

namespace triptych::ops {

/// "abc" for 3 dims: index letters for rules of operations on any number of dims.
inline std::string letters_of(int num_dims) {
  return std::string("abcdef").substr(0, static_cast<std::size_t>(num_dims));
}

/// A letter that `letters_of` does not give: of a dim that the operands lack.
inline constexpr char kNewLetter = 'n';

}  // namespace triptych::ops
