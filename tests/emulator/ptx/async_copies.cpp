#include "emulator/ptx/async_copies.h"

namespace triptych::emulator::ptx {

void AsyncCopies::commit(uint32_t lanes) {
  for (unsigned lane = 0; lane < 32; ++lane) groups_[lane] += (lanes >> lane) & 1;
}

std::vector<AsyncCopies::Copy> AsyncCopies::wait(uint32_t lanes, uint32_t allowed, bool uncommitted) {
  std::vector<Copy> done, rest;
  for (const Copy& copy : pending_) {
    const bool waits = ((lanes >> copy.lane) & 1) != 0;
    const uint32_t younger = groups_[copy.lane] - copy.group;  // 0: not committed; 1: in the last group
    const bool is_done = waits && (younger > allowed || (younger == 0 && uncommitted));
    (is_done ? done : rest).push_back(copy);
  }
  pending_ = std::move(rest);
  return done;
}

}  // namespace triptych::emulator::ptx
