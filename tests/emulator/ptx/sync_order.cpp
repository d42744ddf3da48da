#include "emulator/ptx/sync_order.h"

#include <algorithm>

namespace triptych::emulator::ptx {

void SyncOrder::synchronise(uint32_t members) {
  ++stamp_;
  if (members == 0xFFFFFFFF) {
    full_ = stamp_;
    return;
  }
  std::array<uint32_t, 32> joined{};
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (((members >> lane) & 1) == 0) continue;
    for (unsigned earlier = 0; earlier < 32; ++earlier)
      joined[earlier] = std::max(joined[earlier], seen_[lane][earlier]);
    joined[lane] = stamp_;
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (((members >> lane) & 1) != 0) seen_[lane] = joined;
  }
}

}  // namespace triptych::emulator::ptx
