#include "emulator/ptx/builder.h"
#include "emulator/ptx/warp.h"

// bra, brx.idx, call, ret, exit, trap

namespace triptych::emulator::ptx {
namespace {

void run_branch(Warp& warp, const Op& op) {
  warp.branch(warp.mask(), op.target);
}

void build_bra(Builder& builder) {
  builder.take("uni");
  builder.op.target = builder.branch_target(builder.term(0));
  builder.run(run_branch);
}

void run_indexed_branch(Warp& warp, const Op& op) {
  const auto& table = warp.program().branch_tables[op.target];
  const uint32_t* index = warp.lanes<uint32_t>(op.source(0));
  std::array<uint32_t, kLanes> targets{};
  for_lanes(warp.mask(), [&](int lane) {
    if (index[lane] >= table.size())
      warp.fail("out-of-bounds", lane, "branches by an index beyond the list of targets.");
    targets[static_cast<unsigned>(lane)] = table[index[lane]];
  });
  warp.branch(targets);
}

void build_brx(Builder& builder) {
  if (!builder.take("idx")) builder.unknown("only brx.idx is known");
  builder.take("uni");
  builder.source(0, Type::U32);
  builder.op.target = builder.branch_table(builder.term(1).symbol);
  builder.run(run_indexed_branch);
}

// ---- A call copies the arguments and jumps; the lanes come back to the op behind it, which fetches the results.

void run_call(Warp& warp, const Op& op) {
  const Call& call = warp.program().calls[op.target];
  for_lanes(warp.mask(), [&](int lane) {
    for (const Call::Copy& copy : call.arguments) warp.local().copy(lane, copy.to, copy.from, copy.bytes);
    warp.lanes<uint32_t>(call.return_address)[lane] = warp.pc() + 1;
  });
  warp.written(call.return_address) |= warp.mask();
  warp.branch(warp.mask(), call.target);
}

void build_call(Builder& builder) {
  builder.take("uni");
  if (builder.statement().guard >= 0) builder.unsupported("a call under a condition");
  builder.call();
  builder.run(run_call);
}

void run_fetch(Warp& warp, const Op& op) {
  const Call& call = warp.program().calls[op.target];
  for_lanes(warp.mask(), [&](int lane) {
    for (const Call::Copy& copy : call.results) warp.local().copy(lane, copy.to, copy.from, copy.bytes);
  });
}

void build_fetch(Builder& builder) {
  builder.take("fetch");
  builder.run(run_fetch);
}

void run_return(Warp& warp, const Op& op) {
  const uint32_t* addresses = warp.lanes<uint32_t>(op.source(0));
  std::array<uint32_t, kLanes> targets{};
  for_lanes(warp.mask(), [&](int lane) { targets[static_cast<unsigned>(lane)] = addresses[lane]; });
  warp.branch(targets);
}

void run_exit(Warp& warp, const Op&) {
  warp.exit(warp.mask());
}

void build_ret(Builder& builder) {
  builder.take("uni");
  if (builder.function().is_entry) return builder.run(run_exit);
  builder.source_operand(builder.return_address());
  builder.run(run_return);
}

void build_exit(Builder& builder) {
  builder.run(run_exit);
}

void run_trap(Warp& warp, const Op&) {
  warp.fail("unsupported", first_lane(warp.mask()), "executes a trap: an assertion or an unreachable place.");
}

void build_trap(Builder& builder) {
  builder.run(run_trap);
}

}  // namespace

void add_control_ops(HandlerTable& table) {
  table["bra"] = build_bra;
  table["brx"] = build_brx;
  table["call"] = build_call;
  table["call.fetch"] = build_fetch;
  table["ret"] = build_ret;
  table["exit"] = build_exit;
  table["trap"] = build_trap;
}

}  // namespace triptych::emulator::ptx
