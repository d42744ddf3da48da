#include "emulator/ptx/builder.h"
#include "emulator/ptx/float_functions.h"
#include "emulator/ptx/lane_ops.h"

// setp, set, selp, slct

namespace triptych::emulator::ptx {
namespace {

enum class Compare : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan };

template <Compare compare, class T>
bool holds(T a, T b) {
  if constexpr (kIsHalf<T>) {
    return holds<compare>(to_float(a), to_float(b));
  } else {
    const bool unordered = a != a || b != b;
    switch (compare) {
      case Compare::Eq:
        return a == b;
      case Compare::Ne:
        return a != b && !unordered;
      case Compare::Lt:
        return a < b;
      case Compare::Le:
        return a <= b;
      case Compare::Gt:
        return a > b;
      case Compare::Ge:
        return a >= b;
      case Compare::Equ:
        return a == b || unordered;
      case Compare::Neu:
        return a != b;
      case Compare::Ltu:
        return a < b || unordered;
      case Compare::Leu:
        return a <= b || unordered;
      case Compare::Gtu:
        return a > b || unordered;
      case Compare::Geu:
        return a >= b || unordered;
      case Compare::Num:
        return !unordered;
      case Compare::Nan:
        return unordered;
    }
  }
}

template <class T>
using ComparedMask = uint32_t (*)(const T*, const T*);

template <Compare compare, class T>
uint32_t compare_lanes(const T* a, const T* b) {
  uint32_t mask = 0;
  for (int lane = 0; lane < kLanes; ++lane) mask |= uint32_t{holds<compare>(a[lane], b[lane])} << lane;
  return mask;
}

template <class T, std::size_t... indices>
uint32_t compare_as(uint8_t compare, const T* a, const T* b, std::index_sequence<indices...>) {
  static constexpr ComparedMask<T> kInstances[] = {&compare_lanes<static_cast<Compare>(indices), T>...};
  return kInstances[compare](a, b);
}

// What the comparison gives for every lane, as one mask; for pairs, of the low halves and of the high ones.
template <class T>
uint32_t compared(Warp& warp, const Op& op) {
  return compare_as(op.mode & 15, warp.lanes<T>(op.source(0)), warp.lanes<T>(op.source(1)),
                    std::make_index_sequence<14>{});
}

template <class Half>
std::pair<uint32_t, uint32_t> compared_pairs(Warp& warp, const Op& op) {
  Half a[2][kLanes], b[2][kLanes];
  const Half* from_a = warp.lanes<Half>(op.source(0));
  const Half* from_b = warp.lanes<Half>(op.source(1));
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int half = 0; half < 2; ++half) {
      a[half][lane] = from_a[2 * lane + half];
      b[half][lane] = from_b[2 * lane + half];
    }
  }
  const std::make_index_sequence<14> all;
  return {compare_as(op.mode & 15, a[0], b[0], all), compare_as(op.mode & 15, a[1], b[1], all)};
}

uint8_t take_comparison(Builder& builder, Type type) {
  static constexpr std::string_view kNames[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                                "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  for (uint8_t i = 0; i < std::size(kNames); ++i) {
    if (!builder.take(kNames[i])) continue;
    if (i >= static_cast<uint8_t>(Compare::Equ) && !is_float(type)) builder.unknown("integers have no such comparison");
    return i;
  }
  static constexpr std::string_view kUnsigned[] = {"lo", "ls", "hi", "hs"};
  for (uint8_t i = 0; i < std::size(kUnsigned); ++i) {
    if (builder.take(kUnsigned[i])) return static_cast<uint8_t>(Compare::Lt) + i;
  }
  builder.unknown("no such comparison");
}

// ---- setp p|q, a, b, c: p = (a ? b) op c, q = !(a ? b) op c

enum Combination : uint8_t { kNone = 0, kAnd = 16, kOr = 32, kXor = 48, kCombinations = 48, kNegated = 64 };

uint32_t combine(Warp& warp, const Op& op, uint32_t value) {
  if ((op.mode & kCombinations) == kNone) return value;
  uint32_t other = warp.predicate(op.source(2));
  if ((op.mode & kNegated) != 0) other = ~other;
  switch (op.mode & kCombinations) {
    case kAnd:
      return value & other;
    case kOr:
      return value | other;
    default:
      return value ^ other;
  }
}

void set_predicate(Warp& warp, const Operand& operand, uint32_t value) {
  uint32_t& result = warp.predicate(operand);
  result = (result & ~warp.mask()) | (value & warp.mask());
}

template <class T>
void run_setp(Warp& warp, const Op& op) {
  const uint32_t value = compared<T>(warp, op);
  const uint32_t first = combine(warp, op, value), second = combine(warp, op, ~value);
  set_predicate(warp, op.result(0), first);
  set_predicate(warp, op.result(1), second);
}

template <class Half>
void run_setp_pairs(Warp& warp, const Op& op) {
  const auto [low, high] = compared_pairs<Half>(warp, op);
  const uint32_t first = combine(warp, op, low), second = combine(warp, op, high);
  set_predicate(warp, op.result(0), first);
  set_predicate(warp, op.result(1), second);
}

template <template <class> class Runner>
Execute pick_compared(Type type) {
  switch (type) {
    case Type::B16:
    case Type::U16:
      return Runner<uint16_t>::kRun;
    case Type::B32:
    case Type::U32:
      return Runner<uint32_t>::kRun;
    case Type::B64:
    case Type::U64:
      return Runner<uint64_t>::kRun;
    case Type::S16:
      return Runner<int16_t>::kRun;
    case Type::S32:
      return Runner<int32_t>::kRun;
    case Type::S64:
      return Runner<int64_t>::kRun;
    case Type::F16:
      return Runner<F16>::kRun;
    case Type::BF16:
      return Runner<BF16>::kRun;
    case Type::F32:
      return Runner<float>::kRun;
    case Type::F64:
      return Runner<double>::kRun;
    default:
      return nullptr;
  }
}

template <class T>
struct SetpRunner {
  static constexpr Execute kRun = &run_setp<T>;
};

void take_combination(Builder& builder) {
  const std::string_view name = builder.take_any({"and", "or", "xor"});
  if (name.empty()) return;
  Term other = builder.term(builder.num_terms() - 1);
  builder.op.mode |= static_cast<uint8_t>((name == "and"  ? kAnd
                                           : name == "or" ? kOr
                                                          : kXor) |
                                          (other.negated ? kNegated : 0));
  other.negated = false;
  builder.source(other, Type::Pred);
}

void build_setp(Builder& builder) {
  builder.take("ftz");
  const Type type = builder.peek_type();
  builder.op.mode = take_comparison(builder, type);
  builder.take_type();
  const Term& results = builder.term(0);
  builder.predicate_result(results.kind == Term::Kind::Sink ? -1 : results.index);
  builder.predicate_result(results.second);
  builder.source(1, type);
  builder.source(2, type);
  take_combination(builder);
  if (type == Type::F16x2) return builder.run(run_setp_pairs<F16>);
  if (type == Type::BF16x2) return builder.run(run_setp_pairs<BF16>);
  builder.run(pick_compared<SetpRunner>(type));
}

// ---- set: all ones, or 1.0, where it holds

void write_truth(Warp& warp, const Op& op, uint32_t truth) {
  const bool as_float = op.is_signed;
  const Operand& to = op.result();
  for_lanes(warp.mask(), [&](int lane) {
    const bool holds = ((truth >> lane) & 1) != 0;
    if (to.bytes == 2) {
      warp.lanes<uint16_t>(to)[lane] = holds ? static_cast<uint16_t>(op.target) : uint16_t{0};
    } else {
      warp.lanes<uint32_t>(to)[lane] = !holds ? 0 : as_float ? op.target : 0xFFFFFFFF;
    }
  });
}

template <class T>
void run_set(Warp& warp, const Op& op) {
  write_truth(warp, op, combine(warp, op, compared<T>(warp, op)));
}

template <class T>
struct SetRunner {
  static constexpr Execute kRun = &run_set<T>;
};

template <class Half>
void run_set_pairs(Warp& warp, const Op& op) {
  const auto [low, high] = compared_pairs<Half>(warp, op);
  uint32_t* to = warp.lanes<uint32_t>(op.result());
  for_lanes(warp.mask(), [&](int lane) {
    to[lane] = (((low >> lane) & 1) != 0 ? op.target : 0) | (((high >> lane) & 1) != 0 ? op.target << 16 : 0);
  });
}

uint32_t one_of(Builder& builder, Type type) {
  switch (type) {
    case Type::F32:
      return 0x3F800000;
    case Type::F16:
    case Type::F16x2:
      return 0x3C00;
    case Type::BF16:
    case Type::BF16x2:
      return 0x3F80;
    case Type::U16:
    case Type::S16:
      return 0xFFFF;
    case Type::U32:
    case Type::S32:
      return 0xFFFFFFFF;
    default:
      builder.unknown("no such result");
  }
}

void build_set(Builder& builder) {
  builder.take("ftz");
  const Type result = builder.take_type(), type = builder.peek_type();
  builder.op.mode = take_comparison(builder, type);
  builder.take_type();
  builder.op.is_signed = is_float(result);
  const bool is_pair = type == Type::F16x2 || type == Type::BF16x2;
  builder.op.target = is_pair && !is_float(result) ? 0xFFFF : one_of(builder, result);
  builder.result(0, result);
  builder.source(1, type);
  builder.source(2, type);
  take_combination(builder);
  if (type == Type::F16x2) return builder.run(run_set_pairs<F16>);
  if (type == Type::BF16x2) return builder.run(run_set_pairs<BF16>);
  builder.run(pick_compared<SetRunner>(type));
}

// ---- selp carries an undefined value along: only what is used counts.

template <class T>
void run_selp(Warp& warp, const Op& op) {
  warp.require_written(op.source(2), warp.mask());
  T* to = warp.lanes<T>(op.result());
  const T* a = warp.lanes<T>(op.source(0));
  const T* b = warp.lanes<T>(op.source(1));
  const uint32_t selector = warp.predicate(op.source(2)), mask = warp.mask();
  const uint32_t written = (warp.written(op.source(0)) & selector) | (warp.written(op.source(1)) & ~selector);
  for_lanes(mask, [&](int lane) { to[lane] = ((selector >> lane) & 1) != 0 ? a[lane] : b[lane]; });
  uint32_t& result_written = warp.written(op.result());
  result_written = (result_written & ~mask) | (written & mask);
}

void build_selp(Builder& builder) {
  const Type type = builder.take_type();
  builder.op.checks_operands = false;
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.source(3, Type::Pred);
  switch (bytes_of(type)) {
    case 2:
      return builder.run(run_selp<uint16_t>);
    case 4:
      return builder.run(run_selp<uint32_t>);
    case 8:
      return builder.run(run_selp<uint64_t>);
    default:
      return builder.run(nullptr);
  }
}

// ---- slct: a where c >= 0, else b

template <class T, class Selector>
struct Select {
  T operator()(T a, T b, Selector c) const { return c >= 0 ? a : b; }
};

template <class Selector>
Execute pick_slct(int bytes) {
  switch (bytes) {
    case 2:
      return &run_map<Select<uint16_t, Selector>, uint16_t, uint16_t, uint16_t, Selector>;
    case 4:
      return &run_map<Select<uint32_t, Selector>, uint32_t, uint32_t, uint32_t, Selector>;
    default:
      return &run_map<Select<uint64_t, Selector>, uint64_t, uint64_t, uint64_t, Selector>;
  }
}

void build_slct(Builder& builder) {
  const Type type = builder.take_type(), selector = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, type);
  builder.source(3, selector);
  builder.run(selector == Type::F32   ? pick_slct<float>(bytes_of(type))
              : selector == Type::S32 ? pick_slct<int32_t>(bytes_of(type))
                                      : nullptr);
}

}  // namespace

void add_compare_ops(HandlerTable& table) {
  table["setp"] = build_setp;
  table["set"] = build_set;
  table["selp"] = build_selp;
  table["slct"] = build_slct;
}

}  // namespace triptych::emulator::ptx
