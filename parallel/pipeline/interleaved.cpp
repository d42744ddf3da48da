#include <algorithm>
#include <vector>

#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

namespace {

// The k-th piece of a rank's work in one direction.
struct Piece {
  int chunk;  // which of the rank's stages
  int microbatch;
};

// Microbatches go in groups of at least as many as there are ranks, or all in one: a group passes the rank's first
// stage, then its second, and so on, and then comes the next group. With fewer than ranks a group would be at its next
// stage before it has passed the others'.
std::vector<Piece> pieces(const ScheduleSize& size) {
  const int num_groups = std::max(1, size.num_microbatches / size.num_ranks);
  std::vector<Piece> all;
  for (int group = 0; group < num_groups; ++group) {
    const auto begin_of = [&](int g) {
      return static_cast<int>((int64_t{size.num_microbatches} * g + num_groups - 1) / num_groups);
    };
    for (int chunk = 0; chunk < size.virtual_stages; ++chunk) {
      for (int m = begin_of(group); m < begin_of(group + 1); ++m) all.push_back({chunk, m});
    }
  }
  return all;
}

}  // namespace

Schedule interleaved(const ScheduleSize& size) {
  Schedule schedule = schedule_in_turn("interleaved", size);
  embed_first(schedule);
  const std::vector<Piece> order = pieces(size);
  const int num_pieces = static_cast<int>(order.size());
  // The first group passes all stages but the last before a gradient can come back ...
  const auto is_in_last = [&](const Piece& one) { return one.chunk == size.virtual_stages - 1; };
  const int num_before = static_cast<int>(std::ranges::find_if(order, is_in_last) - order.begin());
  for (int r = 0; r < size.num_ranks; ++r) {
    const auto stage = [&](int chunk) { return StageActions(schedule, chunk * size.num_ranks + r); };
    const auto forward = [&](int k) {
      const Piece& next = order[static_cast<std::size_t>(k)];
      stage(next.chunk).forward(next.microbatch);
    };
    const auto backward = [&](int k) {
      const Piece& next = order[static_cast<std::size_t>(k)];
      stage(size.virtual_stages - 1 - next.chunk).backward(next.microbatch);
    };
    // ... and from there it takes one forward and one backward less a rank until it is here.
    const int num_ahead = std::min(num_pieces, num_before + 2 * (size.num_ranks - 1 - r));
    for (int k = 0; k < num_ahead; ++k) forward(k);
    for (int k = num_ahead; k < num_pieces; ++k) {
      forward(k);
      backward(k - num_ahead);
    }
    for (int k = num_pieces - num_ahead; k < num_pieces; ++k) backward(k);
  }
  return schedule;
}

}  // namespace triptych::pipeline
