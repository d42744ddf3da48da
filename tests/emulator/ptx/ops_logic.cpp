#include <algorithm>
#include <bit>
#include <type_traits>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/lane_ops.h"

// and, or, xor, not, cnot, lop3, shl, shr, shf, prmt, bfe, bfi, bmsk, brev, popc, clz, bfind, szext

namespace triptych::emulator::ptx {
namespace {

struct And {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct IsZero {
  template <class T>
  T operator()(T a) const {
    return a == 0 ? 1 : 0;
  }
};

// A predicate's lanes are the bits of one mask.
template <class Function>
void run_predicates(Warp& warp, const Op& op) {
  uint32_t& result = warp.predicate(op.result());
  const uint32_t value = Function{}(warp.predicate(op.source(0)), warp.predicate(op.source(1)));
  result = (result & ~warp.mask()) | (value & warp.mask());
}

void run_not_predicate(Warp& warp, const Op& op) {
  uint32_t& result = warp.predicate(op.result());
  result = (result & ~warp.mask()) | (~warp.predicate(op.source(0)) & warp.mask());
}

template <class Function>
void build_logic(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  if (type == Type::Pred) return builder.run(run_predicates<Function>);
  builder.run(pick_binary<Function, Type::B16, Type::B32, Type::B64>(type));
}

void build_not(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  if (type == Type::Pred) return builder.run(run_not_predicate);
  builder.run(pick_unary<Not, Type::B16, Type::B32, Type::B64>(type));
}

void build_cnot(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.run(pick_unary<IsZero, Type::B16, Type::B32, Type::B64>(type));
}

struct Lop3 {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c, uint32_t table) const {
    uint32_t result = 0;
    for (unsigned row = 0; row < 8; ++row) {
      if (((table >> row) & 1) == 0) continue;
      result |= ((row & 4) != 0 ? a : ~a) & ((row & 2) != 0 ? b : ~b) & ((row & 1) != 0 ? c : ~c);
    }
    return result;
  }
};

void build_lop3(Builder& builder) {
  builder.result(0, builder.take_type());
  for (std::size_t i = 1; i <= 4; ++i) builder.source(i, Type::B32);
  builder.run(run_map<Lop3, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>);
}

// Shifts by more than the width give 0, or the sign.
struct ShiftLeft {
  template <class T>
  T operator()(T a, uint32_t by) const {
    return by < 8 * sizeof(T) ? static_cast<T>(static_cast<uint64_t>(a) << by) : T{0};
  }
};
struct ShiftRight {
  template <class T>
  T operator()(T a, uint32_t by) const {
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> std::min<uint32_t>(by, 8 * sizeof(T) - 1));
    return by < 8 * sizeof(T) ? static_cast<T>(a >> by) : T{0};
  }
};

template <class Function, Type... types>
Execute pick_shift(Type type) {
  Execute picked = nullptr;
  ((type == types ? void(picked = &run_map<Function, typename LaneOf<types>::T, typename LaneOf<types>::T, uint32_t>)
                  : void()),
   ...);
  return picked;
}

template <class Function>
void build_shift(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, Type::U32);
  builder.run(pick_shift<Function, Type::B16, Type::B32, Type::B64, Type::U16, Type::U32, Type::U64, Type::S16,
                         Type::S32, Type::S64>(type));
}

template <bool left, bool wraps>
struct FunnelShift {
  uint32_t operator()(uint32_t low, uint32_t high, uint32_t by) const {
    by = wraps ? by & 31 : std::min(by, 32U);
    const uint64_t both = uint64_t{high} << 32 | low;
    return static_cast<uint32_t>(left ? both << by >> 32 : both >> by);
  }
};

template <bool left, bool wraps>
constexpr Execute kFunnelShift = &run_map<FunnelShift<left, wraps>, uint32_t, uint32_t, uint32_t, uint32_t>;

void build_shf(Builder& builder) {
  const bool left = builder.take_any({"l", "r"}) == "l";
  const bool wraps = builder.take_any({"wrap", "clamp"}) == "wrap";
  builder.result(0, builder.take_type());
  for (std::size_t i = 1; i <= 3; ++i) builder.source(i, Type::B32);
  builder.run(left ? (wraps ? kFunnelShift<true, true> : kFunnelShift<true, false>)
                   : (wraps ? kFunnelShift<false, true> : kFunnelShift<false, false>));
}

struct Permute {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t selector) const {
    const uint64_t both = uint64_t{b} << 32 | a;
    uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const uint32_t select = selector >> (4 * i) & 15;
      auto byte = static_cast<uint8_t>(both >> (8 * (select & 7)));
      if ((select & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;  // its sign, eight times
      result |= uint32_t{byte} << (8 * i);
    }
    return result;
  }
};

void build_prmt(Builder& builder) {
  builder.result(0, builder.take_type());
  for (std::size_t i = 1; i <= 3; ++i) builder.source(i, Type::B32);
  builder.run(run_map<Permute, uint32_t, uint32_t, uint32_t, uint32_t>);
}

struct ExtractField {
  template <class T>
  T operator()(T a, uint32_t position, uint32_t length) const {
    constexpr uint32_t kBits = 8 * sizeof(T);
    position &= 255, length &= 255;
    if (length == 0) return 0;
    const uint32_t top = std::min(position + length - 1, kBits - 1);
    const bool sign = std::is_signed_v<T> && ((a >> top) & 1) != 0;
    using Bits = std::make_unsigned_t<T>;
    const Bits shifted = position < kBits ? static_cast<Bits>(static_cast<Bits>(a) >> position) : Bits{0};
    if (position >= kBits) return static_cast<T>(sign ? ~Bits{0} : Bits{0});
    const uint32_t taken = std::min(length, kBits - position);
    const Bits ones = taken >= kBits ? ~Bits{0} : static_cast<Bits>((Bits{1} << taken) - 1);
    return static_cast<T>(sign ? shifted | ~ones : shifted & ones);
  }
};

void build_bfe(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, Type::U32);
  builder.source(3, Type::U32);
  switch (type) {
    case Type::U32:
      return builder.run(run_map<ExtractField, uint32_t, uint32_t, uint32_t, uint32_t>);
    case Type::S32:
      return builder.run(run_map<ExtractField, int32_t, int32_t, uint32_t, uint32_t>);
    case Type::U64:
      return builder.run(run_map<ExtractField, uint64_t, uint64_t, uint32_t, uint32_t>);
    case Type::S64:
      return builder.run(run_map<ExtractField, int64_t, int64_t, uint32_t, uint32_t>);
    default:
      return builder.run(nullptr);
  }
}

struct InsertField {
  template <class T>
  T operator()(T field, T into, uint32_t position, uint32_t length) const {
    constexpr uint32_t kBits = 8 * sizeof(T);
    position &= 255, length &= 255;
    if (position >= kBits || length == 0) return into;
    const T ones = length >= kBits ? ~T{0} : static_cast<T>((T{1} << length) - 1);
    return (into & ~(ones << position)) | ((field & ones) << position);
  }
};

void build_bfi(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.source(3, Type::U32);
  builder.source(4, Type::U32);
  builder.run(type == Type::B32   ? &run_map<InsertField, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>
              : type == Type::B64 ? &run_map<InsertField, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t>
                                  : nullptr);
}

template <bool wraps>
struct FieldMask {
  uint32_t operator()(uint32_t position, uint32_t length) const {
    if (wraps) position &= 31, length &= 31;
    if (position >= 32 || length == 0) return 0;
    const uint32_t ones = length >= 32 ? ~0U : (1U << length) - 1;
    return ones << position;
  }
};

void build_bmsk(Builder& builder) {
  const bool wraps = builder.take_any({"wrap", "clamp"}) == "wrap";
  builder.result(0, builder.take_type());
  builder.source(1, Type::B32);
  builder.source(2, Type::B32);
  builder.run(wraps ? &run_map<FieldMask<true>, uint32_t, uint32_t, uint32_t>
                    : &run_map<FieldMask<false>, uint32_t, uint32_t, uint32_t>);
}

struct ReverseBits {
  template <class T>
  T operator()(T a) const {
    T result = 0;
    for (unsigned i = 0; i < 8 * sizeof(T); ++i) result |= ((a >> i) & 1) << (8 * sizeof(T) - 1 - i);
    return result;
  }
};
struct CountOnes {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::popcount(a));
  }
};
struct CountLeadingZeros {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::countl_zero(a));
  }
};

void build_brev(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.run(pick_unary<ReverseBits, Type::B32, Type::B64>(type));
}

template <class Function>
void build_count(Builder& builder) {
  const Type type = builder.take_type();
  builder.result(0, Type::U32);
  builder.source(1, type);
  builder.run(type == Type::B32   ? &run_map<Function, uint32_t, uint32_t>
              : type == Type::B64 ? &run_map<Function, uint32_t, uint64_t>
                                  : nullptr);
}

// The highest bit that differs from the sign; all ones if there is none.
template <bool as_shift>
struct FindBit {
  template <class T>
  uint32_t operator()(T a) const {
    using Bits = std::make_unsigned_t<T>;
    const Bits bits = static_cast<Bits>(a < 0 ? ~a : a);
    if (bits == 0) return 0xFFFFFFFF;
    const auto zeros = static_cast<uint32_t>(std::countl_zero(bits));
    return as_shift ? zeros : static_cast<uint32_t>(8 * sizeof(T)) - 1 - zeros;
  }
};

template <bool as_shift>
Execute pick_find(Type type) {
  switch (type) {
    case Type::U32:
      return &run_map<FindBit<as_shift>, uint32_t, uint32_t>;
    case Type::S32:
      return &run_map<FindBit<as_shift>, uint32_t, int32_t>;
    case Type::U64:
      return &run_map<FindBit<as_shift>, uint32_t, uint64_t>;
    case Type::S64:
      return &run_map<FindBit<as_shift>, uint32_t, int64_t>;
    default:
      return nullptr;
  }
}

void build_bfind(Builder& builder) {
  const bool as_shift = builder.take("shiftamt");
  const Type type = builder.take_type();
  builder.result(0, Type::U32);
  builder.source(1, type);
  builder.run(as_shift ? pick_find<true>(type) : pick_find<false>(type));
}

template <bool wraps>
struct ExtendSign {
  template <class T>
  T operator()(T a, uint32_t length) const {
    length = wraps ? length & 31 : std::min(length, 32U);
    if (length == 0) return 0;
    const auto up = static_cast<T>(static_cast<uint32_t>(a) << (32 - length));
    return static_cast<T>(up >> (32 - length));
  }
};

void build_szext(Builder& builder) {
  const bool wraps = builder.take_any({"wrap", "clamp"}) == "wrap";
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, Type::U32);
  builder.run(wraps ? pick_shift<ExtendSign<true>, Type::U32, Type::S32>(type)
                    : pick_shift<ExtendSign<false>, Type::U32, Type::S32>(type));
}

}  // namespace

void add_logic_ops(HandlerTable& table) {
  table["and"] = build_logic<And>;
  table["or"] = build_logic<Or>;
  table["xor"] = build_logic<Xor>;
  table["not"] = build_not;
  table["cnot"] = build_cnot;
  table["lop3"] = build_lop3;
  table["shl"] = build_shift<ShiftLeft>;
  table["shr"] = build_shift<ShiftRight>;
  table["shf"] = build_shf;
  table["prmt"] = build_prmt;
  table["bfe"] = build_bfe;
  table["bfi"] = build_bfi;
  table["bmsk"] = build_bmsk;
  table["brev"] = build_brev;
  table["popc"] = build_count<CountOnes>;
  table["clz"] = build_count<CountLeadingZeros>;
  table["bfind"] = build_bfind;
  table["szext"] = build_szext;
}

}  // namespace triptych::emulator::ptx
