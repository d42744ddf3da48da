#include <cstring>

#include "emulator/ptx/block.h"
#include "emulator/ptx/builder.h"
#include "emulator/ptx/memory_access.h"

// ld, st, cvta, isspacep, prefetch

namespace triptych::emulator::ptx {
namespace {

template <class Memory, class Register>
void spread_as(Warp& warp, const std::byte* from, unsigned stride, const Operand& to) {
  Register* lanes = warp.lanes<Register>(to);
  if (warp.mask() == kAllLanes) {
    if (sizeof(Memory) == sizeof(Register) && stride == sizeof(Memory)) {
      std::memcpy(lanes, from, kLanes * sizeof(Memory));
      return;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      Memory value;
      std::memcpy(&value, from + lane * stride, sizeof(Memory));
      lanes[lane] = static_cast<Register>(value);
    }
    return;
  }
  for_lanes(warp.mask(), [&](int lane) {
    Memory value;
    std::memcpy(&value, from + static_cast<unsigned>(lane) * stride, sizeof(Memory));
    lanes[lane] = static_cast<Register>(value);
  });
}

// A register that is wider than what is loaded is extended by zeros, or by the sign.
template <class Unsigned, class Signed>
void spread(Warp& warp, const std::byte* from, unsigned stride, const Operand& to, bool is_signed) {
  switch (to.bytes) {
    case 1:
      return spread_as<Unsigned, uint8_t>(warp, from, stride, to);
    case 2:
      return is_signed ? spread_as<Signed, int16_t>(warp, from, stride, to)
                       : spread_as<Unsigned, uint16_t>(warp, from, stride, to);
    case 4:
      return is_signed ? spread_as<Signed, int32_t>(warp, from, stride, to)
                       : spread_as<Unsigned, uint32_t>(warp, from, stride, to);
    default:
      return is_signed ? spread_as<Signed, int64_t>(warp, from, stride, to)
                       : spread_as<Unsigned, uint64_t>(warp, from, stride, to);
  }
}

enum Mode : uint8_t { kWeak = 0, kStrong = 1, kAcquire = 2, kRelease = 3 };

void run_load(Warp& warp, const Op& op) {
  LaneValues values;
  const unsigned size = op.bytes * op.count;
  load(warp, op.space, lane_addresses(warp, op), size, op.mode != kWeak, values);
  if (op.mode == kAcquire) warp.block().fence(warp);
  for (int i = 0; i < op.count; ++i) {
    const std::byte* from = values.bytes + i * op.bytes;
    const Operand& to = op.result(i);
    switch (op.bytes) {
      case 1:
        spread<uint8_t, int8_t>(warp, from, size, to, op.is_signed);
        break;
      case 2:
        spread<uint16_t, int16_t>(warp, from, size, to, op.is_signed);
        break;
      case 4:
        spread<uint32_t, int32_t>(warp, from, size, to, op.is_signed);
        break;
      default:
        spread<uint64_t, int64_t>(warp, from, size, to, op.is_signed);
        break;
    }
  }
}

template <class Memory>
void collect(Warp& warp, const Operand& from, std::byte* to, unsigned stride) {
  // The low bytes of a wider register: little-endian.
  const std::byte* lanes = warp.lanes<std::byte>(from);
  const unsigned width = from.bytes;
  for (unsigned lane = 0; lane < kLanes; ++lane) std::memcpy(to + lane * stride, lanes + lane * width, sizeof(Memory));
}

void run_store(Warp& warp, const Op& op) {
  LaneValues values;
  const unsigned size = op.bytes * op.count;
  for (int i = 0; i < op.count; ++i) {
    std::byte* to = values.buffer.data() + i * op.bytes;
    const Operand& from = op.source(1 + i);
    switch (op.bytes) {
      case 1:
        collect<uint8_t>(warp, from, to, size);
        break;
      case 2:
        collect<uint16_t>(warp, from, to, size);
        break;
      case 4:
        collect<uint32_t>(warp, from, to, size);
        break;
      default:
        collect<uint64_t>(warp, from, to, size);
        break;
    }
  }
  if (op.mode == kRelease) warp.block().fence(warp);
  store(warp, op.space, lane_addresses(warp, op), size, op.mode != kWeak, values);
}

Space take_space(Builder& builder) {
  if (builder.take("global")) return Space::Global;
  if (!builder.take_any({"shared", "shared::cta"}).empty()) return Space::Shared;
  if (builder.take("local")) return Space::Local;
  if (!builder.take_any({"param", "param::entry", "param::func"}).empty()) return Space::Param;
  if (builder.take("const")) return Space::Const;
  return Space::Generic;
}

void take_hints(Builder& builder) {
  builder.take_any({"ca", "cg", "cs", "lu", "cv", "wb", "wt"});
  builder.take_any({"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"});
  builder.take_any({"L2::evict_normal", "L2::evict_first", "L2::evict_last"});
  builder.take_any({"L2::64B", "L2::128B", "L2::256B"});
}

uint8_t take_strength(Builder& builder, uint8_t ordered) {
  if (builder.take("weak")) return kWeak;
  if (builder.take("volatile")) return kStrong;
  const bool relaxed = builder.take("relaxed");
  const bool is_ordered = builder.take(ordered == kAcquire ? "acquire" : "release");
  if (!relaxed && !is_ordered) return kWeak;
  builder.take_any({"cta", "gpu", "sys"});
  return is_ordered ? ordered : static_cast<uint8_t>(kStrong);
}

// Space, hints, count and type; the operand that is a register or a vector of registers.
const std::vector<Term> take_elements(Builder& builder, const Term& term) {
  builder.op.space = take_space(builder);
  take_hints(builder);
  const std::string_view vector = builder.take_any({"v2", "v4", "v8"});
  const Type type = builder.take_type();
  builder.op.count = static_cast<uint8_t>(vector.empty() ? 1 : vector[1] - '0');
  builder.op.bytes = static_cast<uint8_t>(bytes_of(type));
  builder.op.is_signed = is_signed(type) && !is_float(type);
  if (builder.op.bytes == 0 || builder.op.bytes > 8 ||
      builder.op.bytes * builder.op.count > static_cast<int>(kMaxAccess)) {
    builder.unknown("no such access");
  }
  if (vector.empty()) return {term};
  if (term.kind != Term::Kind::Vector || term.elements.size() != builder.op.count)
    builder.unknown("not as many registers");
  return term.elements;
}

void build_load(Builder& builder) {
  builder.op.mode = take_strength(builder, kAcquire);
  builder.take("nc");
  for (const Term& element : take_elements(builder, builder.term(0))) builder.result_of_any_width(element);
  builder.address(builder.term(1));
  builder.run(run_load);
}

void build_store(Builder& builder) {
  builder.op.mode = take_strength(builder, kRelease);
  const auto elements = take_elements(builder, builder.term(1));
  const Type immediate_type = builder.op.bytes == 1   ? Type::B8
                              : builder.op.bytes == 2 ? Type::B16
                              : builder.op.bytes == 4 ? Type::B32
                                                      : Type::B64;
  builder.address(builder.term(0));
  for (const Term& element : elements) builder.source_of_any_width(element, immediate_type);
  builder.run(run_store);
}

// ---- Generic addresses

void run_add_window(Warp& warp, const Op& op) {
  uint64_t* to = warp.lanes<uint64_t>(op.result());
  const uint64_t* from = warp.lanes<uint64_t>(op.source(0));
  for_lanes(warp.mask(), [&](int lane) { to[lane] = from[lane] + static_cast<uint64_t>(op.offset); });
}

void build_cvta(Builder& builder) {
  const bool from_generic = builder.take("to");
  const Space space = take_space(builder);
  builder.result(0, builder.peek_type());
  builder.source(1, builder.take_type());
  const uint64_t window = space == Space::Shared  ? kSharedWindow
                          : space == Space::Local ? kLocalWindow
                          : space == Space::Param ? kParamWindow
                          : space == Space::Const ? kConstWindow
                                                  : 0;
  builder.op.offset = static_cast<int64_t>(from_generic ? ~window + 1 : window);
  builder.run(run_add_window);
}

void run_isspacep(Warp& warp, const Op& op) {
  const uint64_t* address = warp.lanes<uint64_t>(op.source(0));
  uint32_t is_in = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    is_in |= uint32_t{locate(Space::Generic, address[lane]).space == op.space} << lane;
  }
  uint32_t& result = warp.predicate(op.result());
  result = (result & ~warp.mask()) | (is_in & warp.mask());
}

void build_isspacep(Builder& builder) {
  builder.op.space = take_space(builder);
  builder.result(0, Type::Pred);
  builder.source(1, Type::B64);
  builder.run(run_isspacep);
}

void build_prefetch(Builder& builder) {
  builder.op.space = take_space(builder);
  builder.take_any({"L1", "L2", "L2::evict_last", "L2::evict_normal"});
  builder.address(builder.term(0));
  builder.run([](Warp&, const Op&) {});
}

}  // namespace

void add_memory_ops(HandlerTable& table) {
  table["ld"] = build_load;
  table["st"] = build_store;
  table["cvta"] = build_cvta;
  table["isspacep"] = build_isspacep;
  table["prefetch"] = build_prefetch;
}

}  // namespace triptych::emulator::ptx
