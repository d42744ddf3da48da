#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "base/rooms.h"

namespace triptych::base {

/// A product that refuses to wrap; for sizes that come from files. Throws WorldError naming `where`.
template <std::integral T>
T checked_mul(T a, T b, std::string_view where) {
  T result;
  if (__builtin_mul_overflow(a, b, &result)) throw WorldError(where, fmt::format("{} * {} overflows", a, b));
  return result;
}

/// Integer conversion that keeps the value. A failure is a defect of ours: check values from outside first.
template <std::integral To, std::integral From>
To narrow(From value) {
  TRIPTYCH_CHECK(std::in_range<To>(value), "{} does not fit", value);
  return static_cast<To>(value);
}

inline constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline constexpr int64_t round_up(int64_t a, int64_t multiple) {
  return ceil_div(a, multiple) * multiple;
}

}  // namespace triptych::base
