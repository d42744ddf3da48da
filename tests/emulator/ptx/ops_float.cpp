#include <bit>
#include <cmath>
#include <limits>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/float_functions.h"
#include "emulator/ptx/lane_ops.h"

// rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh, copysign, testp. Approximations are computed in double and rounded once:
// within what PTX allows, and the most accurate value there is.

namespace triptych::emulator::ptx {
namespace {

struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return 1 / a;
  }
};
struct SquareRoot {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct ReciprocalSquareRoot {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(1 / std::sqrt(static_cast<double>(a)));
  }
};

/// `.approx.ftz.f64`: of the high half of the bits, and the low half of the result is zero.
template <class Function>
struct Coarse {
  double operator()(double a) const { return high_half(Function{}(high_half(a))); }
  static double high_half(double a) {
    const double kept = std::bit_cast<double>(std::bit_cast<uint64_t>(a) & 0xFFFFFFFF00000000);
    return std::fabs(kept) < std::numeric_limits<double>::min() ? std::copysign(0.0, kept) : kept;
  }
};

template <double (*function)(double)>
struct Approximate {
  template <class T>
  T operator()(T a) const {
    if constexpr (kIsHalf<T>) {
      return to_half_nearest<T>(static_cast<float>(function(to_float(a))));
    } else {
      return static_cast<T>(function(a));
    }
  }
};

double exp2_of(double x) {
  return std::exp2(x);
}
double log2_of(double x) {
  return std::log2(x);
}
double sin_of(double x) {
  return std::sin(x);
}
double cos_of(double x) {
  return std::cos(x);
}
double tanh_of(double x) {
  return std::tanh(x);
}

template <class Function>
void build_root(Builder& builder) {
  const bool approximate = builder.take_any({"approx", "rn"}) == "approx";
  const bool flushes = builder.take("ftz");
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  if (flushes && type == Type::F32) return builder.run(&run_map<Flushed<Function>, float, float>);
  if (flushes)
    return builder.run(approximate && type == Type::F64 ? &run_map<Coarse<Function>, double, double> : nullptr);
  builder.run(pick_unary<Function, Type::F32, Type::F64>(type));
}

template <class Function>
void build_approximate(Builder& builder) {
  if (!builder.take("approx")) builder.unknown("only the approximation exists");
  const bool flushes = builder.take("ftz");
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  if (flushes && type == Type::F32) return builder.run(&run_map<Flushed<Function>, float, float>);
  // With 16 bits, .ftz is only written for bf16, where the subnormal results that it flushes are as float32's.
  if (flushes && type != Type::BF16 && type != Type::BF16x2) builder.unknown("this type does not flush subnormals");
  builder.run(pick_unary<Lift<Function>, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2, Type::F32>(type));
}

struct CopySign {
  template <class T>
  T operator()(T sign, T magnitude) const {
    return std::copysign(magnitude, sign);
  }
};

void build_copysign(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.run(pick_binary<CopySign, Type::F32, Type::F64>(type));
}

enum Property : uint8_t { kFinite, kInfinite, kNumber, kNotANumber, kNormal, kSubnormal };

template <class T>
bool has_property(T a, uint8_t property) {
  switch (property) {
    case kFinite:
      return std::isfinite(a);
    case kInfinite:
      return std::isinf(a);
    case kNumber:
      return !std::isnan(a);
    case kNotANumber:
      return std::isnan(a);
    case kNormal:
      return std::isnormal(a);
    default:
      return std::fpclassify(a) == FP_SUBNORMAL;
  }
}

template <class T>
void run_testp(Warp& warp, const Op& op) {
  const T* from = warp.lanes<T>(op.source(0));
  uint32_t& result = warp.predicate(op.result());
  for_lanes(warp.mask(),
            [&](int lane) { result = (result & ~(1U << lane)) | uint32_t{has_property(from[lane], op.mode)} << lane; });
}

void build_testp(Builder& builder) {
  const std::string_view name = builder.take_any({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  builder.op.mode = name == "finite"       ? kFinite
                    : name == "infinite"   ? kInfinite
                    : name == "number"     ? kNumber
                    : name == "notanumber" ? kNotANumber
                    : name == "normal"     ? kNormal
                                           : kSubnormal;
  const Type type = builder.take_type();
  builder.result(0, Type::Pred);
  builder.source(1, type);
  builder.run(type == Type::F32 ? &run_testp<float> : type == Type::F64 ? &run_testp<double> : nullptr);
}

}  // namespace

void add_float_ops(HandlerTable& table) {
  table["rcp"] = build_root<Reciprocal>;
  table["sqrt"] = build_root<SquareRoot>;
  table["rsqrt"] = build_root<ReciprocalSquareRoot>;
  table["ex2"] = build_approximate<Approximate<exp2_of>>;
  table["lg2"] = build_approximate<Approximate<log2_of>>;
  table["sin"] = build_approximate<Approximate<sin_of>>;
  table["cos"] = build_approximate<Approximate<cos_of>>;
  table["tanh"] = build_approximate<Approximate<tanh_of>>;
  table["copysign"] = build_copysign;
  table["testp"] = build_testp;
}

}  // namespace triptych::emulator::ptx
