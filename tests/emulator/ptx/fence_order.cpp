#include "emulator/ptx/fence_order.h"

#include <algorithm>

namespace triptych::emulator::ptx {

void FenceOrder::join(Clock& clock, const Clock& other) {
  clock.resize(std::max(clock.size(), other.size()));
  for (std::size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

void FenceOrder::acquire(State& warp) {
  join(warp.known, warp.pending);
  warp.pending.clear();
}

void FenceOrder::fence(int warp, uint32_t stamp) {
  State& state = warps_[static_cast<std::size_t>(warp)];
  state.fenced = stamp;
  acquire(state);
}

void FenceOrder::strong_read(int warp, uint64_t address) {
  const auto found = released_.find(address);
  if (found != released_.end()) join(warps_[static_cast<std::size_t>(warp)].pending, found->second);
}

void FenceOrder::atomic(int warp, uint64_t address) {
  strong_read(warp, address);
  const State& state = warps_[static_cast<std::size_t>(warp)];
  if (state.fenced == 0) return;
  Clock& clock = released_[address];
  clock.resize(warps_.size());
  join(clock, state.known);
  clock[static_cast<std::size_t>(warp)] = state.fenced;
}

void FenceOrder::barrier() {
  std::fill(warps_.begin(), warps_.end(), State{});
  released_.clear();
}

}  // namespace triptych::emulator::ptx
