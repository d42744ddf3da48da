#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/float_functions.h"
#include "emulator/ptx/lane_ops.h"

// cvt: between integers and floats, with all roundings; pairs of halves; tf32

namespace triptych::emulator::ptx {
namespace {

// ---- The general way: each lane's source as a wide integer or a double (which every float format fits in), converted
// to the result's bits.

enum Flag : uint8_t { kFlushes = 1, kSaturates = 2, kToIntegral = 4, kRectifies = 8 };

struct Conversion {
  Type from, to;
  Rounding rounding;
  uint8_t flags;
};

// An Op's generic fields hold a Conversion: mode is from, bytes is to, count is the rounding, target the flags.
Conversion conversion_of(const Op& op) {
  return {static_cast<Type>(op.mode), static_cast<Type>(op.bytes), static_cast<Rounding>(op.count),
          static_cast<uint8_t>(op.target)};
}

uint64_t read_bits(Warp& warp, const Operand& operand, int lane) {
  switch (operand.bytes) {
    case 1:
      return warp.lanes<uint8_t>(operand)[lane];
    case 2:
      return warp.lanes<uint16_t>(operand)[lane];
    case 4:
      return warp.lanes<uint32_t>(operand)[lane];
    default:
      return warp.lanes<uint64_t>(operand)[lane];
  }
}

void write_bits(Warp& warp, const Operand& operand, int lane, uint64_t bits) {
  switch (operand.bytes) {
    case 1:
      warp.lanes<uint8_t>(operand)[lane] = static_cast<uint8_t>(bits);
      break;
    case 2:
      warp.lanes<uint16_t>(operand)[lane] = static_cast<uint16_t>(bits);
      break;
    case 4:
      warp.lanes<uint32_t>(operand)[lane] = static_cast<uint32_t>(bits);
      break;
    default:
      warp.lanes<uint64_t>(operand)[lane] = bits;
      break;
  }
}

// The value of an integer type in the low bits of a register, extended to 64 bits.
uint64_t extend(uint64_t bits, Type type) {
  const int unused = 64 - 8 * bytes_of(type);
  return is_signed(type) ? static_cast<uint64_t>(static_cast<int64_t>(bits << unused) >> unused)
                         : bits << unused >> unused;
}

double float_value(uint64_t bits, Type type) {
  switch (type) {
    case Type::F16:
      return to_float(F16{static_cast<uint16_t>(bits)});
    case Type::BF16:
      return to_float(BF16{static_cast<uint16_t>(bits)});
    case Type::F32:
      return std::bit_cast<float>(static_cast<uint32_t>(bits));
    default:
      return std::bit_cast<double>(bits);
  }
}

uint64_t float_bits(double value, Type type, Rounding rounding) {
  switch (type) {
    case Type::F16:
      return to_f16(value, rounding).bits;
    case Type::BF16:
      return to_bf16(value, rounding).bits;
    case Type::F32:
      return std::bit_cast<uint32_t>(static_cast<float>(round_to(value, kF32Format, rounding)));
    default:
      return std::bit_cast<uint64_t>(value);
  }
}

double to_integral(double value, Rounding rounding) {
  switch (rounding) {
    case Rounding::Nearest:
      return std::nearbyint(value);
    case Rounding::Zero:
      return std::trunc(value);
    case Rounding::Down:
      return std::floor(value);
    default:
      return std::ceil(value);
  }
}

struct Limits {
  int64_t lowest;
  uint64_t highest;
};

Limits limits_of(Type type) {
  const int bits = 8 * bytes_of(type);
  if (is_signed(type)) return {-(int64_t{1} << (bits - 2)) * 2, (uint64_t{1} << (bits - 1)) - 1};
  return {0, bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1};
}

uint64_t float_to_integer(double value, const Conversion& c) {
  const Limits limits = limits_of(c.to);
  if (std::isnan(value)) {
    const bool is_wide = c.from == Type::F64 || bytes_of(c.to) == 8;
    return is_wide ? uint64_t{1} << (8 * bytes_of(c.to) - 1) : 0;
  }
  value = to_integral(value, c.rounding);
  if (value <= static_cast<double>(limits.lowest)) return static_cast<uint64_t>(limits.lowest);
  if (value >= static_cast<double>(limits.highest)) return limits.highest;
  return value < 0 ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
}

uint64_t integer_to_integer(uint64_t value, const Conversion& c) {
  if ((c.flags & kSaturates) == 0) return value;
  const Limits limits = limits_of(c.to);
  const bool negative = is_signed(c.from) && static_cast<int64_t>(value) < 0;
  if (negative) return static_cast<uint64_t>(std::max(static_cast<int64_t>(value), limits.lowest));
  return std::min(value, limits.highest);
}

uint64_t integer_to_float(uint64_t value, const Conversion& c) {
  const bool negative = is_signed(c.from) && static_cast<int64_t>(value) < 0;
  const uint64_t magnitude = negative ? ~value + 1 : value;
  if (c.to == Type::F64) {
    return std::bit_cast<uint64_t>(negative ? static_cast<double>(static_cast<int64_t>(value))
                                            : static_cast<double>(value));
  }
  // Of 64 bits, a double keeps 53: the rest is folded into its last bit, so that rounding again is right.
  const int excess = std::max(0, 64 - std::countl_zero(magnitude) - 53);
  uint64_t kept = magnitude >> excess;
  if ((magnitude & ((uint64_t{1} << excess) - 1)) != 0) kept |= 1;
  const double odd = std::ldexp(static_cast<double>(kept), excess);
  return float_bits(negative ? -odd : odd, c.to, c.rounding);
}

uint64_t float_to_float(double value, const Conversion& c) {
  if ((c.flags & kToIntegral) != 0) value = to_integral(value, c.rounding);
  if ((c.flags & kSaturates) != 0) value = value > 0 ? std::min(value, 1.0) : 0.0;
  if ((c.flags & kRectifies) != 0 && !std::isnan(value)) value = value > 0 ? value : 0.0;
  const uint64_t bits = float_bits(value, c.to, c.rounding);
  if ((c.flags & kFlushes) == 0 || c.to != Type::F32) return bits;
  return std::bit_cast<uint32_t>(flush_denormal(std::bit_cast<float>(static_cast<uint32_t>(bits))));
}

void run_convert(Warp& warp, const Op& op) {
  const Conversion c = conversion_of(op);
  for_lanes(warp.mask(), [&](int lane) {
    const uint64_t bits = read_bits(warp, op.source(0), lane);
    uint64_t result = 0;
    if (is_float(c.from)) {
      double value = float_value(bits, c.from);
      if ((c.flags & kFlushes) != 0 && c.from == Type::F32) value = flush_denormal(static_cast<float>(value));
      result = is_float(c.to) ? float_to_float(value, c) : float_to_integer(value, c);
    } else {
      const uint64_t value = extend(bits, c.from);
      result = is_float(c.to) ? integer_to_float(value, c) : integer_to_integer(value, c);
    }
    write_bits(warp, op.result(), lane, is_float(c.to) ? result : extend(result, c.to));
  });
}

// ---- What kernels do all the time.

struct Cast {
  template <class To, class From>
  static To convert(From a) {
    if constexpr (kIsHalf<To>) {
      return to_half_nearest<To>(a);
    } else if constexpr (kIsHalf<From>) {
      return to_float(a);
    } else {
      return static_cast<To>(a);
    }
  }
};
template <class To>
struct CastTo {
  template <class From>
  To operator()(From a) const {
    return Cast::convert<To>(a);
  }
};
template <class To, class From>
constexpr Execute kCast = &run_map<CastTo<To>, To, From>;

Execute pick_frequent(const Conversion& c) {
  const auto is = [&](Type to, Type from) { return c.to == to && c.from == from; };
  if (c.flags != 0) return nullptr;
  if (is(Type::F32, Type::F16)) return kCast<float, F16>;
  if (is(Type::F32, Type::BF16)) return kCast<float, BF16>;
  if (is(Type::F64, Type::F32)) return kCast<double, float>;
  if (is(Type::S64, Type::S32)) return kCast<int64_t, int32_t>;
  if (is(Type::U64, Type::U32)) return kCast<uint64_t, uint32_t>;
  if (bytes_of(c.from) == 8 && bytes_of(c.to) == 4 && !is_float(c.from) && !is_float(c.to))
    return kCast<uint32_t, uint64_t>;
  if (c.rounding != Rounding::Nearest) return nullptr;
  if (is(Type::F16, Type::F32)) return kCast<F16, float>;
  if (is(Type::BF16, Type::F32)) return kCast<BF16, float>;
  if (is(Type::F32, Type::F64)) return kCast<float, double>;
  if (is(Type::F32, Type::S32)) return kCast<float, int32_t>;
  if (is(Type::F32, Type::U32)) return kCast<float, uint32_t>;
  return nullptr;
}

// ---- Pairs: `cvt.rn.bf16x2.f32 d, a, b` puts a into the upper half.

template <class Pair, Rounding rounding, bool rectifies>
struct ConvertPair {
  Pair operator()(float high, float low) const { return {half(low), half(high)}; }
  static auto half(float x) {
    using Half = decltype(Pair::low);
    if (rectifies && !std::isnan(x)) x = x > 0 ? x : 0.0F;
    if constexpr (rounding == Rounding::Nearest) {
      return to_half_nearest<Half>(x);
    } else if constexpr (std::is_same_v<Half, F16>) {
      return to_f16(x, rounding);
    } else {
      return to_bf16(x, rounding);
    }
  }
};

template <class Pair>
Execute pick_pair(Rounding rounding, bool rectifies) {
  const auto instance = [&]<Rounding r>() {
    return rectifies ? &run_map<ConvertPair<Pair, r, true>, Pair, float, float>
                     : &run_map<ConvertPair<Pair, r, false>, Pair, float, float>;
  };
  if (rounding == Rounding::Nearest) return instance.template operator()<Rounding::Nearest>();
  return rounding == Rounding::Zero ? instance.template operator()<Rounding::Zero>() : nullptr;
}

// `rna`: to nearest, ties away from zero.
struct ConvertTF32 {
  uint32_t operator()(uint32_t bits) const {
    if ((bits & 0x7FFFFFFF) >= 0x7F800000) return bits & 0xFFFFE000;
    return (bits + 0x1000) & 0xFFFFE000;
  }
};
struct ConvertTF32Even {
  uint32_t operator()(uint32_t bits) const {
    if ((bits & 0x7FFFFFFF) >= 0x7F800000) return bits & 0xFFFFE000;
    return (bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000;
  }
};

void build_cvt(Builder& builder) {
  const std::string_view name = builder.take_any({"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"});
  Conversion c{};
  c.rounding = name.empty() || name[1] == 'n' ? Rounding::Nearest
               : name[1] == 'z'               ? Rounding::Zero
               : name[1] == 'm'               ? Rounding::Down
                                              : Rounding::Up;
  c.flags |= builder.take("ftz") ? kFlushes : 0;
  c.flags |= builder.take("sat") ? kSaturates : 0;
  c.flags |= builder.take("relu") ? kRectifies : 0;
  c.flags |= name.size() == 3 && name != "rna" ? kToIntegral : 0;
  c.to = builder.take_type();
  c.from = builder.take_type();

  if (c.to == Type::F16x2 || c.to == Type::BF16x2) {
    if (c.from != Type::F32 || (c.flags & ~kRectifies) != 0) builder.unknown("no such conversion");
    builder.result(0, c.to);
    builder.source(1, Type::F32);
    builder.source(2, Type::F32);
    const bool rectifies = (c.flags & kRectifies) != 0;
    return builder.run(c.to == Type::F16x2 ? pick_pair<F16x2>(c.rounding, rectifies)
                                           : pick_pair<BF16x2>(c.rounding, rectifies));
  }
  if (c.to == Type::TF32) {
    if (c.from != Type::F32 || c.flags != 0 || (name != "rna" && name != "rn")) builder.unknown("no such conversion");
    builder.result(0, Type::B32);
    builder.source(1, Type::B32);
    return builder.run(name == "rna" ? &run_map<ConvertTF32, uint32_t, uint32_t>
                                     : &run_map<ConvertTF32Even, uint32_t, uint32_t>);
  }
  if (name == "rna" || c.from == Type::F16x2 || c.from == Type::BF16x2) builder.unknown("no such conversion");
  const bool wide_directed = c.to == Type::F64 && !is_float(c.from) && c.rounding != Rounding::Nearest;
  if (wide_directed) builder.unknown("only rounding to nearest is known");
  builder.result_of_any_width(builder.term(0));
  builder.source_of_any_width(builder.term(1), c.from);
  builder.op.mode = static_cast<uint8_t>(c.from);
  builder.op.bytes = static_cast<uint8_t>(c.to);
  builder.op.count = static_cast<uint8_t>(c.rounding);
  builder.op.target = c.flags;
  const auto width = [&](const Term& term, Type type) {
    return term.kind == Term::Kind::Register ? builder.operand_of_register(term.index).bytes == bytes_of(type) : false;
  };
  const Execute frequent = pick_frequent(c);
  const bool exact = width(builder.term(0), c.to) && width(builder.term(1), c.from);
  builder.run(frequent != nullptr && exact ? frequent : run_convert);
}

}  // namespace

void add_convert_ops(HandlerTable& table) {
  table["cvt"] = build_cvt;
}

}  // namespace triptych::emulator::ptx
