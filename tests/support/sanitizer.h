#pragma once

#include <cstddef>
#include <vector>

#include "base/sanitizer.h"

namespace triptych::test {

/// Whether the address sanitizer is compiled in: unoptimized too, so a second's work takes up to a minute.
inline constexpr bool kIsSanitized = TRIPTYCH_ADDRESS_SANITIZER != 0;

/// All of a list of cases; under the address sanitizer one of every `stride`, beginning with `first`. Where the stride
/// shares no factor with the lengths of the loops that made the list, those still have cases of every value of each.
template <typename T>
std::vector<T> fewer_if_sanitized(const std::vector<T>& all, std::size_t stride, std::size_t first = 0) {
  if (!kIsSanitized) return all;
  std::vector<T> some;
  for (std::size_t i = first; i < all.size(); i += stride) some.push_back(all[i]);
  return some;
}

}  // namespace triptych::test
