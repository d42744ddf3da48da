#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "emulator/ptx/number_formats.h"

namespace triptych::emulator::ptx {

// Float arithmetic as PTX defines it, as function objects for lane_ops.h. 16-bit formats are computed in float32, which
// has more than twice their bits and two: rounding twice then gives what rounding once would. A fused multiply-add
// needs rounding to odd instead.

template <class T>
inline constexpr bool kIsHalf = std::is_same_v<T, F16> || std::is_same_v<T, BF16>;
template <class T>
inline constexpr bool kIsPair = std::is_same_v<T, F16x2> || std::is_same_v<T, BF16x2>;

/// Lifts a function of float, double and halves to pairs.
template <class Function>
struct Lift {
  template <class T, class... Rest>
  T operator()(T a, Rest... rest) const {
    if constexpr (kIsPair<T>) {
      return {Function{}(a.low, rest.low...), Function{}(a.high, rest.high...)};
    } else {
      return Function{}(a, rest...);
    }
  }
};

template <Rounding rounding>
struct FloatAdd {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kIsHalf<T>) {
      return to_half_nearest<T>(to_float(a) + to_float(b));
    } else if constexpr (std::is_same_v<T, float> && rounding != Rounding::Nearest) {
      return static_cast<float>(round_to(fma_to_odd(a, 1.0, b), kF32Format, rounding));
    } else {
      return a + b;
    }
  }
};

template <class T>
T negated(T a) {
  if constexpr (kIsHalf<T>) {
    return {static_cast<uint16_t>(a.bits ^ 0x8000)};
  } else {
    return -a;
  }
}

template <Rounding rounding>
struct FloatSubtract {
  template <class T>
  T operator()(T a, T b) const {
    return FloatAdd<rounding>{}(a, negated(b));
  }
};

template <Rounding rounding>
struct FloatMultiply {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kIsHalf<T>) {
      return to_half_nearest<T>(to_float(a) * to_float(b));
    } else if constexpr (std::is_same_v<T, float> && rounding != Rounding::Nearest) {
      return static_cast<float>(round_to(static_cast<double>(a) * b, kF32Format, rounding));
    } else {
      return a * b;
    }
  }
};

template <Rounding rounding>
struct FloatMultiplyAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    if constexpr (kIsHalf<T>) {
      return to_half_nearest<T>(to_odd_float(fma_to_odd(to_float(a), to_float(b), to_float(c))));
    } else if constexpr (std::is_same_v<T, float> && rounding != Rounding::Nearest) {
      return static_cast<float>(round_to(fma_to_odd(a, b, c), kF32Format, rounding));
    } else {
      return std::fma(a, b, c);
    }
  }
};

template <class T>
T canonical_nan() {
  if constexpr (kIsHalf<T>) {
    return {0x7FFF};
  } else {
    return std::numeric_limits<T>::quiet_NaN();
  }
}

template <class T>
bool is_nan(T a) {
  if constexpr (kIsHalf<T>) {
    return std::isnan(to_float(a));
  } else {
    return std::isnan(a);
  }
}

// Whether a comes before b, -0 before +0.
template <class T>
bool precedes(T a, T b) {
  if constexpr (kIsHalf<T>) {
    return precedes(to_float(a), to_float(b));
  } else {
    return a < b || (a == b && std::signbit(a) && !std::signbit(b));
  }
}

/// With `propagates`, a NaN wins; else it loses.
template <bool maximum, bool propagates>
struct FloatExtremum {
  template <class T>
  T operator()(T a, T b) const {
    if (is_nan(a) || is_nan(b)) {
      if (propagates || (is_nan(a) && is_nan(b))) return canonical_nan<T>();
      return is_nan(a) ? b : a;
    }
    return precedes(a, b) != maximum ? a : b;
  }
};

struct FloatAbsolute {
  template <class T>
  T operator()(T a) const {
    if constexpr (kIsHalf<T>) {
      return {static_cast<uint16_t>(a.bits & 0x7FFF)};
    } else {
      return std::fabs(a);
    }
  }
};

struct FloatNegate {
  template <class T>
  T operator()(T a) const {
    return negated(a);
  }
};

/// `.ftz`: subnormal operands and results become zero.
template <class Function>
struct Flushed {
  template <class... T>
  float operator()(T... a) const {
    return flush_denormal(Function{}(flush_denormal(a)...));
  }
};

/// `.sat`: into [0, 1]; NaN becomes 0.
template <class Function>
struct Saturated {
  template <class... T>
  auto operator()(T... a) const {
    const auto value = Function{}(a...);
    using Value = std::remove_const_t<decltype(value)>;
    if constexpr (kIsHalf<Value>) {
      const float x = to_float(value);
      return to_half_nearest<Value>(x > 0 ? std::min(x, 1.0F) : 0.0F);
    } else {
      return value > 0 ? std::min(value, Value{1}) : Value{0};
    }
  }
};

/// `.relu`: negative becomes 0; NaN becomes canonical.
template <class Function>
struct Rectified {
  template <class... T>
  auto operator()(T... a) const {
    const auto value = Function{}(a...);
    using Value = std::remove_const_t<decltype(value)>;
    if (is_nan(value)) return canonical_nan<Value>();
    return to_float(value) > 0 ? value : Value{};
  }
};

}  // namespace triptych::emulator::ptx
