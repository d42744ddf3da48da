#include "emulator/ptx/access_cells.h"

#include <cstring>

#include <fmt/format.h>

#include "emulator/ptx/block.h"

namespace triptych::emulator::ptx {

const char* verb_of(Access access) {
  return access == Access::Write ? "writes" : access == Access::Atomic ? "updates" : "reads";
}

inline void AccessCells::Touches::add(Warp& by, int lane, uint32_t now, bool is_weak) {
  if (epoch != now) {
    *this = {};
    epoch = now;
    warp = static_cast<uint8_t>(by.index());
    weak = is_weak;
  } else if (warp != by.index()) {
    // Whoever comes into conflict with them has one in another warp: who exactly no longer matters.
    by_several_warps = true;
    other_thread = static_cast<uint16_t>(by.thread(lane));
    return;
  } else if (stamp < by.order().last_full()) {
    lanes = 0;  // ordered before what any lane of the warp does from now on
  }
  lanes |= 1U << lane;
  stamp = by.order().stamp();
  pc = by.pc();
}

// A thread that touched it and that nothing orders before `lane` now.
std::optional<int> AccessCells::Touches::unordered(Warp& now, int lane) const {
  const FenceOrder& fences = now.block().fences();
  // Where it is not known who they all were, or they were atomics, which a fence does not cover, a warp that has
  // acquired anything is believed to have acquired them.
  const bool has_acquired = fences.has_acquired(now.index());
  const bool is_acquired = has_acquired && (!weak || fences.ordered(warp, stamp, now.index()));
  if (warp != now.index()) {
    if (!is_acquired) return warp * kLanes + first_lane(lanes);
  } else if (!is_acquired) {
    for (uint32_t rest = lanes & ~(1U << lane); rest != 0; rest &= rest - 1) {
      if (!now.order().ordered(first_lane(rest), stamp, lane)) return now.thread(first_lane(rest));
    }
  }
  if (by_several_warps && !has_acquired) return other_thread;
  return {};
}

inline std::optional<AccessCells::Conflict> AccessCells::touch_cell(Warp& warp, int lane, uint32_t epoch, uint32_t at,
                                                                    Access access, const std::byte* before,
                                                                    const std::byte* value) {
  Cell& cell = cells_[at / cell_bytes_];
  Touches &reads = cell.reads, &writes = cell.writes;
  const bool is_write = access == Access::Write || access == Access::Atomic;
  const bool is_weak = access == Access::Read || access == Access::Write;
  const auto instruction = static_cast<uint32_t>(warp.num_instructions());
  const bool same_instruction = access == Access::Write && writes.epoch == epoch && writes.warp == warp.index() &&
                                cell.write_instruction == instruction;

  if (same_instruction) {
    if (std::memcmp(before, value, cell_bytes_) != 0) {
      return Conflict{at, true, warp.thread(first_lane(writes.lanes)), writes.pc};
    }
  } else if (writes.epoch == epoch && (is_weak || writes.weak)) {
    if (const auto other = writes.unordered(warp, lane)) return Conflict{at, true, *other, writes.pc};
  }
  if (is_write && reads.epoch == epoch && (is_weak || reads.weak)) {
    if (const auto other = reads.unordered(warp, lane)) return Conflict{at, false, *other, reads.pc};
  }

  if (!is_write) {
    // Of weak and strong reads the weak ones are kept: all that races with a strong one races with them.
    const bool is_known = reads.epoch == epoch;
    if (is_known && reads.weak && !is_weak) return {};
    if (is_known && !reads.weak && is_weak) reads = {};
    reads.add(warp, lane, epoch, is_weak);
    return {};
  }
  // What was written before is ordered before this, unless both are atomic, or of one instruction.
  if (is_weak ? !same_instruction : writes.weak) writes = {};
  writes.add(warp, lane, epoch, is_weak);
  cell.write_instruction = instruction;
  return {};
}

AccessCells::AccessCells(std::size_t num_bytes) : cells_(num_bytes / cell_bytes_) {}

void AccessCells::refine(unsigned cell_bytes) {
  std::vector<Cell> finer;
  finer.reserve(cells_.size() * cell_bytes_ / cell_bytes);
  for (const Cell& cell : cells_) finer.insert(finer.end(), cell_bytes_ / cell_bytes, cell);
  cells_ = std::move(finer);
  cell_bytes_ = cell_bytes;
}

std::optional<AccessCells::Conflict> AccessCells::touch(Warp& warp, int lane, uint32_t epoch, uint32_t at,
                                                        unsigned size, Access access, const std::byte* before,
                                                        const std::byte* value) {
  if ((at | size) % cell_bytes_ != 0) refine((at | size) % 2 == 0 ? 2 : 1);
  for (unsigned i = 0; i < size; i += cell_bytes_) {
    if (const auto conflict = touch_cell(warp, lane, epoch, at + i, access, before + i, value + i)) return conflict;
  }
  return {};
}

std::string AccessCells::describe(const Warp& warp, const Conflict& conflict) {
  const bool same_warp = conflict.other_thread / kLanes == warp.index();
  return fmt::format("which thread {} {} at {} with no {} in between. Synchronise the threads.", conflict.other_thread,
                     conflict.other_wrote ? "wrote" : "read", warp.describe_line(conflict.other_pc),
                     same_warp ? "__syncthreads or __syncwarp" : "__syncthreads");
}

}  // namespace triptych::emulator::ptx
