#include "emulator/ptx/builder.h"
#include "emulator/ptx/float_functions.h"
#include "emulator/ptx/lane_ops.h"
#include "emulator/ptx/ops_integer.h"

// add, sub, mul, fma, div, min, max, abs, neg: opcodes that integers and floats share

namespace triptych::emulator::ptx {
namespace {

struct FloatModifiers {
  Rounding rounding = Rounding::Nearest;
  bool flushes = false, saturates = false, rectifies = false;
};

FloatModifiers take_float_modifiers(Builder& builder) {
  FloatModifiers modifiers;
  const std::string_view rounding = builder.take_any({"rn", "rz", "rm", "rp"});
  if (rounding == "rz") modifiers.rounding = Rounding::Zero;
  if (rounding == "rm") modifiers.rounding = Rounding::Down;
  if (rounding == "rp") modifiers.rounding = Rounding::Up;
  modifiers.flushes = builder.take("ftz");
  modifiers.saturates = builder.take("sat");
  modifiers.rectifies = builder.take("relu");
  return modifiers;
}

template <class Function, int num_sources>
Execute float_instance() {
  if constexpr (num_sources == 2) return &run_map<Function, float, float, float>;
  if constexpr (num_sources == 3) return &run_map<Function, float, float, float, float>;
}

template <class Function, int num_sources>
Execute pick_other_float(Type type) {
  if constexpr (num_sources == 2) {
    return pick_binary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2, Type::F64>(type);
  } else {
    return pick_ternary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2, Type::F64>(type);
  }
}

template <class Function, int num_sources>
Execute pick_half(Type type) {
  if constexpr (num_sources == 2) {
    return pick_binary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2>(type);
  } else {
    return pick_ternary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2>(type);
  }
}

template <class Function, int num_sources>
Execute pick_float32(const FloatModifiers& modifiers) {
  if (modifiers.flushes && modifiers.saturates) return float_instance<Saturated<Flushed<Function>>, num_sources>();
  if (modifiers.flushes) return float_instance<Flushed<Function>, num_sources>();
  if (modifiers.saturates) return float_instance<Saturated<Function>, num_sources>();
  return float_instance<Function, num_sources>();
}

template <template <Rounding> class Function, int num_sources>
Execute pick_float(Type type, const FloatModifiers& modifiers) {
  if (type == Type::F32 && !modifiers.rectifies) {
    switch (modifiers.rounding) {
      case Rounding::Nearest:
        return pick_float32<Function<Rounding::Nearest>, num_sources>(modifiers);
      case Rounding::Zero:
        return pick_float32<Function<Rounding::Zero>, num_sources>(modifiers);
      case Rounding::Down:
        return pick_float32<Function<Rounding::Down>, num_sources>(modifiers);
      case Rounding::Up:
        return pick_float32<Function<Rounding::Up>, num_sources>(modifiers);
    }
  }
  if (modifiers.rounding != Rounding::Nearest || modifiers.flushes) return nullptr;
  if (modifiers.saturates) return pick_half<Saturated<Function<Rounding::Nearest>>, num_sources>(type);
  if (modifiers.rectifies) return pick_half<Rectified<Function<Rounding::Nearest>>, num_sources>(type);
  return pick_other_float<Function<Rounding::Nearest>, num_sources>(type);
}

void add_operands(Builder& builder, Type type, std::size_t num_sources) {
  builder.result(0, type);
  for (std::size_t i = 1; i <= num_sources; ++i) builder.source(i, type);
}

void build_add(Builder& builder) {
  const FloatModifiers modifiers = take_float_modifiers(builder);
  const Type type = builder.take_type();
  add_operands(builder, type, 2);
  builder.run(is_float(type) ? pick_float<FloatAdd, 2>(type, modifiers) : pick_integer_add(type, modifiers.saturates));
}

void build_sub(Builder& builder) {
  const FloatModifiers modifiers = take_float_modifiers(builder);
  const Type type = builder.take_type();
  add_operands(builder, type, 2);
  builder.run(is_float(type) ? pick_float<FloatSubtract, 2>(type, modifiers)
                             : pick_integer_subtract(type, modifiers.saturates));
}

void build_mul(Builder& builder) {
  if (!is_float(builder.peek_type())) return build_integer_multiply(builder);
  const FloatModifiers modifiers = take_float_modifiers(builder);
  const Type type = builder.take_type();
  add_operands(builder, type, 2);
  builder.run(pick_float<FloatMultiply, 2>(type, modifiers));
}

void build_fma(Builder& builder) {
  const FloatModifiers modifiers = take_float_modifiers(builder);
  const Type type = builder.take_type();
  add_operands(builder, type, 3);
  builder.run(pick_float<FloatMultiplyAdd, 3>(type, modifiers));
}

struct FloatDivide {
  template <class T>
  T operator()(T a, T b) const {
    return a / b;
  }
};

// `.approx` and `.full` may be off by two units in the last place: here they are exact.
void build_div(Builder& builder) {
  builder.take_any({"approx", "full"});
  const FloatModifiers modifiers = take_float_modifiers(builder);
  const Type type = builder.take_type();
  add_operands(builder, type, 2);
  if (!is_float(type)) return builder.run(pick_integer_divide(type));
  if (modifiers.rounding != Rounding::Nearest) builder.unknown("only rounding to nearest is known");
  if (type == Type::F32) return builder.run(pick_float32<FloatDivide, 2>(modifiers));
  builder.run(pick_binary<FloatDivide, Type::F64>(type));
}

template <bool maximum, bool propagates>
Execute pick_extremum(Type type, bool flushes) {
  using Function = FloatExtremum<maximum, propagates>;
  if (flushes) return type == Type::F32 ? &run_map<Flushed<Function>, float, float, float> : nullptr;
  if (type == Type::F32) return &run_map<Function, float, float, float>;
  return pick_other_float<Function, 2>(type);
}

template <bool maximum>
void build_extremum(Builder& builder) {
  const bool flushes = builder.take("ftz"), propagates = builder.take("NaN");
  const Type type = builder.take_type();
  add_operands(builder, type, 2);
  if (!is_float(type)) return builder.run(maximum ? pick_integer_maximum(type) : pick_integer_minimum(type));
  builder.run(propagates ? pick_extremum<maximum, true>(type, flushes) : pick_extremum<maximum, false>(type, flushes));
}

template <class Function>
void build_sign(Builder& builder) {
  const bool flushes = builder.take("ftz");
  const Type type = builder.take_type();
  add_operands(builder, type, 1);
  if (!is_float(type)) {
    return builder.run(std::is_same_v<Function, FloatAbsolute> ? pick_integer_absolute(type)
                                                               : pick_integer_negate(type));
  }
  if (flushes) return builder.run(type == Type::F32 ? &run_map<Flushed<Function>, float, float> : nullptr);
  builder.run(pick_unary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2, Type::F32, Type::F64>(type));
}

}  // namespace

void add_arithmetic_ops(HandlerTable& table) {
  table["add"] = build_add;
  table["sub"] = build_sub;
  table["mul"] = build_mul;
  table["fma"] = build_fma;
  table["div"] = build_div;
  table["min"] = build_extremum<false>;
  table["max"] = build_extremum<true>;
  table["abs"] = build_sign<FloatAbsolute>;
  table["neg"] = build_sign<FloatNegate>;
}

}  // namespace triptych::emulator::ptx
