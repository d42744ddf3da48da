#include <cstring>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/lane_ops.h"

// mov: registers, packing and unpacking; undefined values are carried along.

namespace triptych::emulator::ptx {
namespace {

void carry_written(Warp& warp, const Operand& to, uint32_t written) {
  uint32_t& result = warp.written(to);
  result = (result & ~warp.mask()) | (written & warp.mask());
}

template <class T>
void run_move(Warp& warp, const Op& op) {
  const T* from = warp.lanes<T>(op.source(0));
  T* to = warp.lanes<T>(op.result());
  if (warp.mask() == kAllLanes) {
    std::memmove(to, from, sizeof(T) * kLanes);
  } else {
    for_lanes(warp.mask(), [&](int lane) { to[lane] = from[lane]; });
  }
  carry_written(warp, op.result(), warp.written(op.source(0)));
}

void run_move_predicate(Warp& warp, const Op& op) {
  uint32_t& to = warp.predicate(op.result());
  to = (to & ~warp.mask()) | (warp.predicate(op.source(0)) & warp.mask());
  carry_written(warp, op.result(), warp.written(op.source(0)));
}

// `mov.b64 %rd1, {%r1, %r2}`: the first is the lowest.
void run_pack(Warp& warp, const Op& op) {
  std::byte packed[kLanes][16];
  uint32_t written = kAllLanes;
  unsigned at = 0;
  for (int i = 0; i < op.num_sources; ++i) {
    const Operand& from = op.source(i);
    const std::byte* lanes = warp.lanes<std::byte>(from);
    for (unsigned lane = 0; lane < kLanes; ++lane)
      std::memcpy(packed[lane] + at, lanes + lane * from.bytes, from.bytes);
    written &= warp.written(from);
    at += from.bytes;
  }
  const Operand& to = op.result();
  std::byte* lanes = warp.lanes<std::byte>(to);
  for_lanes(warp.mask(), [&](int lane) { std::memcpy(lanes + lane * to.bytes, packed[lane], to.bytes); });
  carry_written(warp, to, written);
}

void run_unpack(Warp& warp, const Op& op) {
  const Operand& from = op.source(0);
  std::byte packed[kLanes * 16];
  std::memcpy(packed, warp.lanes<std::byte>(from), kLanes * from.bytes);  // the source may be one of the results
  const uint32_t written = warp.written(from);
  unsigned at = 0;
  for (int i = 0; i < op.num_results; ++i) {
    const Operand& to = op.result(i);
    std::byte* lanes = warp.lanes<std::byte>(to);
    for_lanes(warp.mask(),
              [&](int lane) { std::memcpy(lanes + lane * to.bytes, packed + lane * from.bytes + at, to.bytes); });
    carry_written(warp, to, written);
    at += to.bytes;
  }
}

void run_clock(Warp& warp, const Op& op) {
  const uint64_t now = warp.num_instructions();
  for_lanes(warp.mask(), [&](int lane) {
    if (op.result().bytes == 8) {
      warp.lanes<uint64_t>(op.result())[lane] = now;
    } else {
      warp.lanes<uint32_t>(op.result())[lane] = static_cast<uint32_t>(now);
    }
  });
}

void build_pack(Builder& builder, Type type) {
  builder.result(0, type);
  const auto& elements = builder.term(1).elements;
  if (elements.empty()) builder.unknown("nothing to pack");
  const int bytes = bytes_of(type) / static_cast<int>(elements.size());
  const Type part = bytes == 1 ? Type::B8 : bytes == 2 ? Type::B16 : bytes == 4 ? Type::B32 : Type::B64;
  for (const Term& element : elements) builder.source(element, part);
  builder.run(run_pack);
}

void build_unpack(Builder& builder, Type type) {
  const auto& elements = builder.term(0).elements;
  if (elements.empty()) builder.unknown("nothing to unpack to");
  for (const Term& element : elements) builder.result(element, bytes_of(type) / static_cast<int>(elements.size()));
  builder.source(1, type);
  builder.run(run_unpack);
}

void build_mov(Builder& builder) {
  const Type type = builder.take_type();
  builder.op.checks_operands = false;
  if (builder.term(1).kind == Term::Kind::Vector) return build_pack(builder, type);
  if (builder.term(0).kind == Term::Kind::Vector) return build_unpack(builder, type);
  builder.result(0, type);
  const Term& from = builder.term(1);
  if (from.kind == Term::Kind::Register) {
    const std::string& name = builder.function().registers[static_cast<std::size_t>(from.index)].name;
    if (name == "%clock" || name == "%clock64" || name == "%globaltimer") {
      builder.op.checks_operands = true;
      return builder.run(run_clock);
    }
  }
  builder.source(1, type);
  if (type == Type::Pred) return builder.run(run_move_predicate);
  switch (bytes_of(type)) {
    case 2:
      return builder.run(run_move<uint16_t>);
    case 4:
      return builder.run(run_move<uint32_t>);
    case 8:
      return builder.run(run_move<uint64_t>);
    default:
      return builder.run(nullptr);
  }
}

}  // namespace

void add_move_ops(HandlerTable& table) {
  table["mov"] = build_mov;
}

}  // namespace triptych::emulator::ptx
