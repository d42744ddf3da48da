#include "emulator/ptx/ops_barrier.h"

#include <bit>

#include <fmt/format.h>

#include "emulator/ptx/block.h"
#include "emulator/ptx/builder.h"
#include "emulator/ptx/ops_warp.h"
#include "emulator/ptx/warp.h"

// bar.sync, bar.red, barrier.sync, bar.warp.sync, membar, fence

namespace triptych::emulator::ptx {
namespace {

enum Reduction : uint8_t { kNone = 0, kPopulation = 1, kAnd = 2, kOr = 3 };

// A barrier that only some of the block's threads wait at would need its own order of accesses: it is refused.
void require_all_threads(Warp& warp, const Op& op) {
  if (!op.is_signed) return;
  const uint32_t count = warp.lanes<uint32_t>(op.source(0))[first_lane(warp.mask())];
  if (count == static_cast<uint32_t>(warp.block().num_threads())) return;
  warp.fail(
      "unsupported", first_lane(warp.mask()),
      fmt::format("waits for {} threads of {}. Use barriers of the whole block.", count, warp.block().num_threads()));
}

void run_barrier(Warp& warp, const Op& op) {
  require_all_threads(warp, op);
  if (op.mode != kNone) {
    const Operand& predicate = op.source(op.num_sources - 1);
    uint32_t value = warp.predicate(predicate);
    if (op.target != 0) value = ~value;
    Block::Reduction& reduction = warp.block().reduction();
    reduction.count += static_cast<uint32_t>(std::popcount(value & warp.mask()));
    reduction.threads += static_cast<uint32_t>(std::popcount(warp.mask()));
  }
  warp.arrive_at_barrier();
}

void run_warp_barrier(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(0))) return;
  const uint32_t* masks = warp.lanes<uint32_t>(op.source(0));
  for (uint32_t rest = warp.mask(); rest != 0;) {  // groups with different masks synchronise among themselves
    const uint32_t members = masks[first_lane(rest)];
    const bool is_whole_warp = (warp.live() & ~members) == 0;
    warp.order().synchronise(is_whole_warp ? kAllLanes : members);
    rest &= ~members;
  }
  warp.block().fences().warp_barrier(warp.index());
}

// `bar.sync id {, count}`; `bar.red.op.type d, id {, count}, p`; `bar.warp.sync mask`
void build_bar(Builder& builder) {
  builder.take_any({"cta"});
  if (builder.take("warp")) {
    builder.take("sync");
    builder.source(0, Type::B32);
    return builder.run(run_warp_barrier);
  }
  builder.take("aligned");
  std::size_t at = 0;
  if (builder.take("red")) {
    const std::string_view name = builder.take_any({"popc", "and", "or"});
    builder.op.mode = name == "popc" ? kPopulation : name == "and" ? kAnd : kOr;
    builder.result(at++, builder.take_type());
  } else if (!builder.take("sync")) {
    builder.unsupported("a barrier that does not wait");
  }
  ++at;  // the number: barriers of the whole block do not overlap, so that one is as good as another
  const bool reduces = builder.op.mode != kNone;
  if (builder.num_terms() - at == (reduces ? 2U : 1U)) {
    builder.op.is_signed = true;  // there is a count of threads
    builder.source(at++, Type::U32);
  }
  if (reduces) {
    Term predicate = builder.term(at);
    builder.op.target = predicate.negated ? 1 : 0;
    predicate.negated = false;
    builder.source(predicate, Type::Pred);
  }
  builder.run(run_barrier);
}

void run_device_fence(Warp& warp, const Op&) {
  warp.block().fence(warp);
}
void run_block_fence(Warp& warp, const Op&) {
  warp.block().fences().fence(warp.index(), warp.order().advance());
}

void build_fence(Builder& builder) {
  const std::string_view scope = builder.take_any({"gl", "gpu", "sys", "cta"});
  builder.take_any({"acq_rel", "sc"});
  if (scope.empty()) builder.unknown("no scope");
  builder.run(scope == "cta" ? run_block_fence : run_device_fence);
}

}  // namespace

void finish_barrier_reduction(Warp& warp, const Op& op, uint32_t lanes) {
  if (op.mode == kNone) return;
  const Block::Reduction& reduction = warp.block().last_reduction();
  if (op.mode == kPopulation) {
    for_lanes(lanes, [&](int lane) { warp.lanes<uint32_t>(op.result())[lane] = reduction.count; });
  } else {
    const bool value = op.mode == kAnd ? reduction.count == reduction.threads : reduction.count > 0;
    uint32_t& result = warp.predicate(op.result());
    result = value ? result | lanes : result & ~lanes;
  }
}

void add_barrier_ops(HandlerTable& table) {
  table["bar"] = build_bar;
  table["barrier"] = build_bar;
  table["membar"] = build_fence;
  table["fence"] = build_fence;
}

}  // namespace triptych::emulator::ptx
