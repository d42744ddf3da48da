#include "emulator/nccl/deadlock.h"

#include <algorithm>

namespace triptych::emulator {

std::vector<int> DeadlockWatch::look() {
  const auto waits = [&](std::size_t i) {
    const int next = ring_[(i + 1) % ring_.size()];
    return (comm_.state(ring_[i]).waits_for.load() >> next & 1) != 0;
  };
  bool all_looked_twice = !ring_.empty();
  for (std::size_t i = 0; i < ring_.size(); ++i) {
    const RankState& state = comm_.state(ring_[i]);
    if (!waits(i) || state.moves.load() != seen_[i].moves) {
      ring_.clear();
      seen_.clear();
      all_looked_twice = false;
      break;
    }
    all_looked_twice = all_looked_twice && state.polls.load() >= seen_[i].polls + 2;
  }
  if (all_looked_twice) return ring_;
  if (ring_.empty()) {
    ring_ = find_ring();
    for (const int rank : ring_) seen_.push_back({comm_.state(rank).moves.load(), comm_.state(rank).polls.load()});
  }
  return {};
}

// A shortest way from this rank back to itself.
std::vector<int> DeadlockWatch::find_ring() const {
  const int start = comm_.rank();
  std::vector<int> reached_from(static_cast<std::size_t>(comm_.size()), -1), queue{start};
  for (std::size_t head = 0; head < queue.size(); ++head) {
    const int from = queue[head];
    const uint64_t mask = comm_.state(from).waits_for.load();
    for (int to = 0; to < comm_.size(); ++to) {
      if ((mask >> to & 1) == 0) continue;
      if (to == start) {
        std::vector<int> ring;
        for (int rank = from; rank != start; rank = reached_from[static_cast<std::size_t>(rank)]) ring.push_back(rank);
        ring.push_back(start);
        std::reverse(ring.begin(), ring.end());
        return ring;
      }
      if (reached_from[static_cast<std::size_t>(to)] >= 0) continue;
      reached_from[static_cast<std::size_t>(to)] = from;
      queue.push_back(to);
    }
  }
  return {};
}

}  // namespace triptych::emulator
