#include <cstring>

#include <fmt/format.h>

#include "emulator/ptx/block.h"
#include "emulator/ptx/builder.h"
#include "emulator/ptx/memory_access.h"

// cp.async: the bytes are taken when it is issued and arrive when the thread waits for them, as late as is allowed.

namespace triptych::emulator::ptx {
namespace {

void run_copy(Warp& warp, const Op& op) {
  Op source = op;  // its address is the second
  const Addresses to = lane_addresses(warp, op);
  source.operands = op.operands + 1;
  source.offset = static_cast<int32_t>(op.target);
  const Addresses from = lane_addresses(warp, source);
  const uint32_t* used = warp.lanes<uint32_t>(op.source(2));
  const unsigned size = op.bytes;
  for_lanes(warp.mask(), [&](int lane) {
    const auto at = static_cast<unsigned>(lane);
    AsyncCopies::Copy copy{static_cast<uint32_t>(to[at]), static_cast<uint8_t>(lane), op.bytes};
    require_aligned(warp, lane, to[at], size);
    if (used[lane] > size) {
      warp.fail("bad-argument", lane,
                fmt::format("copies {} bytes of {}. Copy at most as many as the size says.", used[lane], size));
    }
    if (used[lane] > 0) {
      require_aligned(warp, lane, from[at], size);
      std::memcpy(copy.bytes.data(), load_unaligned(warp, lane, from[at], used[lane]), used[lane]);
    }
    warp.block().shared().begin_copy(warp, lane, to[at], size);
    warp.async_copies().issue(copy);
  });
}

void deliver(Warp& warp, uint32_t allowed, bool uncommitted) {
  for (const AsyncCopies::Copy& copy : warp.async_copies().wait(warp.mask(), allowed, uncommitted)) {
    warp.block().shared().end_copy(warp, copy.lane, copy.to, copy.size, copy.bytes.data());
  }
}

void run_commit(Warp& warp, const Op&) {
  warp.async_copies().commit(warp.mask());
}
void run_wait_group(Warp& warp, const Op& op) {
  deliver(warp, op.target, false);
}
void run_wait_all(Warp& warp, const Op&) {
  deliver(warp, 0, true);
}

// `cp.async.cg.shared.global [to], [from], size {, bytes used}`
void build_copy(Builder& builder) {
  const bool only_16 = builder.take_any({"ca", "cg"}) == "cg";
  builder.take_any({"shared", "shared::cta"});
  builder.take("global");
  builder.take_any({"L2::64B", "L2::128B", "L2::256B"});
  const Term& size = builder.term(2);
  const bool is_known =
      size.kind == Term::Kind::Integer && (size.bits == 16 || (!only_16 && (size.bits == 4 || size.bits == 8)));
  if (!is_known) builder.unknown("no such size");
  builder.op.bytes = static_cast<uint8_t>(size.bits);
  builder.op.space = Space::Shared;
  builder.address(builder.term(0));
  const int64_t offset_to = builder.op.offset;
  builder.op.space = Space::Global;
  builder.address(builder.term(1));
  builder.op.target = static_cast<uint32_t>(builder.op.offset);
  builder.op.offset = offset_to;
  if (builder.num_terms() > 3) {
    builder.source(3, Type::U32);
  } else {
    builder.constant(size.bits, 4);
  }
  builder.run(run_copy);
}

void build_cp(Builder& builder) {
  if (!builder.take("async")) builder.unsupported("a copy that is not cp.async");
  if (builder.take("commit_group")) return builder.run(run_commit);
  if (builder.take("wait_all")) return builder.run(run_wait_all);
  if (!builder.take("wait_group")) return build_copy(builder);
  if (builder.term(0).kind != Term::Kind::Integer) builder.unknown("the number of groups must be a constant");
  builder.op.target = static_cast<uint32_t>(builder.term(0).bits);
  builder.run(run_wait_group);
}

}  // namespace

void add_async_ops(HandlerTable& table) {
  table["cp"] = build_cp;
}

}  // namespace triptych::emulator::ptx
