#include "emulator/ptx/ops_integer.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "emulator/ptx/builder.h"

namespace triptych::emulator::ptx {
namespace {

// Arithmetic wraps around, so it is done without sign; 16 bits would be promoted to a signed int.
template <class T>
using Wrapping = std::conditional_t<sizeof(T) <= 4, uint32_t, uint64_t>;

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrapping<T>(a) + Wrapping<T>(b));
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrapping<T>(a) - Wrapping<T>(b));
  }
};
struct AddSaturated {
  int32_t operator()(int32_t a, int32_t b) const {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b, INT32_MIN, INT32_MAX));
  }
};
struct SubtractSaturated {
  int32_t operator()(int32_t a, int32_t b) const {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} - b, INT32_MIN, INT32_MAX));
  }
};
struct MultiplyLow {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrapping<T>(a) * Wrapping<T>(b));
  }
};
struct MultiplyHigh {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (sizeof(T) == 8) {
      __extension__ using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>(Wide(a) * Wide(b) >> 64);
    } else {
      using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
      return static_cast<T>(Wide(a) * Wide(b) >> (8 * sizeof(T)));
    }
  }
};
struct MultiplyAddLow {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add{}(MultiplyLow{}(a, b), c);
  }
};
struct MultiplyAddHigh {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add{}(MultiplyHigh{}(a, b), c);
  }
};
template <class Wide>
struct MultiplyWide {
  template <class T>
  Wide operator()(T a, T b) const {
    return static_cast<Wide>(Wide(a) * Wide(b));
  }
};
template <class Wide>
struct MultiplyAddWide {
  template <class T>
  Wide operator()(T a, T b, Wide c) const {
    return Add{}(static_cast<Wide>(Wide(a) * Wide(b)), c);
  }
};
// Division by zero gives all ones on the devices we know of; the smallest number by -1 wraps around.
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return static_cast<T>(~T{0});
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return Subtract{}(T{0}, a);
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    return a < 0 ? Subtract{}(T{0}, a) : a;
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    return Subtract{}(T{0}, a);
  }
};
struct SumOfDifferences {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add{}(a > b ? Subtract{}(a, b) : Subtract{}(b, a), c);
  }
};
// 24-bit factors, sign-extended where signed.
struct Multiply24Low {
  template <class T>
  T operator()(T a, T b) const {
    return MultiplyLow{}(narrow(a), narrow(b));
  }
  template <class T>
  static T narrow(T a) {
    return static_cast<T>(static_cast<T>(static_cast<uint32_t>(a) << 8) >> 8);
  }
};

template <class Function>
Execute pick_integer(Type type) {
  return pick_binary<Function, Type::S16, Type::U16, Type::S32, Type::U32, Type::S64, Type::U64>(type);
}

void build_mul(Builder& builder) {
  const std::string_view part = builder.take_any({"lo", "hi", "wide"});
  const Type type = builder.take_type();
  builder.source(1, type);
  builder.source(2, type);
  if (part == "wide") {
    builder.result(builder.term(0), 2 * bytes_of(type));
    switch (type) {
      case Type::S16:
        return builder.run(run_map<MultiplyWide<int32_t>, int32_t, int16_t, int16_t>);
      case Type::U16:
        return builder.run(run_map<MultiplyWide<uint32_t>, uint32_t, uint16_t, uint16_t>);
      case Type::S32:
        return builder.run(run_map<MultiplyWide<int64_t>, int64_t, int32_t, int32_t>);
      case Type::U32:
        return builder.run(run_map<MultiplyWide<uint64_t>, uint64_t, uint32_t, uint32_t>);
      default:
        return builder.run(nullptr);
    }
  }
  builder.result(0, type);
  builder.run(part == "hi" ? pick_integer<MultiplyHigh>(type) : pick_integer<MultiplyLow>(type));
}

void build_mad(Builder& builder) {
  const std::string_view part = builder.take_any({"lo", "hi", "wide"});
  const Type type = builder.take_type();
  builder.source(1, type);
  builder.source(2, type);
  if (part == "wide") {
    const Type wide = type == Type::S16 ? Type::S32 : type == Type::U16 ? Type::U32 : Type::S64;
    builder.result(0, wide);
    builder.source(3, wide);
    switch (type) {
      case Type::S16:
        return builder.run(run_map<MultiplyAddWide<int32_t>, int32_t, int16_t, int16_t, int32_t>);
      case Type::U16:
        return builder.run(run_map<MultiplyAddWide<uint32_t>, uint32_t, uint16_t, uint16_t, uint32_t>);
      case Type::S32:
        return builder.run(run_map<MultiplyAddWide<int64_t>, int64_t, int32_t, int32_t, int64_t>);
      case Type::U32:
        return builder.run(run_map<MultiplyAddWide<uint64_t>, uint64_t, uint32_t, uint32_t, uint64_t>);
      default:
        return builder.run(nullptr);
    }
  }
  builder.result(0, type);
  builder.source(3, type);
  builder.run(
      part == "hi"
          ? pick_ternary<MultiplyAddHigh, Type::S16, Type::U16, Type::S32, Type::U32, Type::S64, Type::U64>(type)
          : pick_ternary<MultiplyAddLow, Type::S16, Type::U16, Type::S32, Type::U32, Type::S64, Type::U64>(type));
}

template <class Function>
void build_binary(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.run(pick_integer<Function>(type));
}

void build_mul24(Builder& builder) {
  if (!builder.take("lo")) builder.unknown("only the low half is known");
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.run(pick_binary<Multiply24Low, Type::S32, Type::U32>(type));
}

void build_sad(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  for (std::size_t i = 1; i <= 3; ++i) builder.source(i, type);
  builder.run(pick_ternary<SumOfDifferences, Type::S16, Type::U16, Type::S32, Type::U32, Type::S64, Type::U64>(type));
}

}  // namespace

Execute pick_integer_add(Type type, bool saturated) {
  if (saturated) return type == Type::S32 ? &run_map<AddSaturated, int32_t, int32_t, int32_t> : nullptr;
  return pick_integer<Add>(type);
}

Execute pick_integer_subtract(Type type, bool saturated) {
  if (saturated) return type == Type::S32 ? &run_map<SubtractSaturated, int32_t, int32_t, int32_t> : nullptr;
  return pick_integer<Subtract>(type);
}

Execute pick_integer_minimum(Type type) {
  return pick_integer<Minimum>(type);
}
Execute pick_integer_maximum(Type type) {
  return pick_integer<Maximum>(type);
}
Execute pick_integer_absolute(Type type) {
  return pick_unary<Absolute, Type::S16, Type::S32, Type::S64>(type);
}
Execute pick_integer_negate(Type type) {
  return pick_unary<Negate, Type::S16, Type::S32, Type::S64>(type);
}
Execute pick_integer_divide(Type type) {
  return pick_integer<Divide>(type);
}
void build_integer_multiply(Builder& builder) {
  build_mul(builder);
}

void add_integer_ops(HandlerTable& table) {
  table["mad"] = build_mad;
  table["rem"] = build_binary<Remainder>;
  table["mul24"] = build_mul24;
  table["sad"] = build_sad;
}

}  // namespace triptych::emulator::ptx
