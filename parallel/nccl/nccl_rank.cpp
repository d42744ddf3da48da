#include "parallel/nccl/nccl_rank.h"

#include <algorithm>

#include "base/error.h"

namespace triptych::parallel {
namespace {

using Clock = std::chrono::steady_clock;

// "number 20, all_reduce(sum, float32 x 7) on rank 0 (world rank 2)".
std::string text_of(const NcclFlight& flight) {
  return fmt::format("number {}, {} on {}", flight.operation.sequence, flight.operation.to_string(),
                     flight.identity->rank_text(flight.identity->rank));
}

// Whom it waits for. NCCL does not say which of them is missing.
std::string peers_of(const NcclFlight& flight) {
  const GroupIdentity& identity = *flight.identity;
  if (!flight.operation.is_collective()) return identity.rank_text(flight.operation.peer);
  std::string text;
  for (int rank = 0; rank < identity.size(); ++rank) {
    if (rank == identity.rank) continue;
    text += fmt::format("{}{}", text.empty() ? (identity.size() > 2 ? "one or more of " : "") : ", ",
                        identity.rank_text(rank));
  }
  return text;
}

}  // namespace

void NcclRank::add(Lane& lane, HostWatches& watches) {
  if (lanes_.empty()) watches.add(this, [this] { poll(kHostWaits); });
  lanes_.push_back(&lane);
}

void NcclRank::remove(Lane& lane, HostWatches& watches) {
  std::erase(lanes_, &lane);
  if (lanes_.empty()) watches.remove(this);
}

void NcclRank::rethrow_failure() const {
  if (!failure_.empty()) throw Error(ErrorKind::kWorld, failure_);
}

void NcclRank::fail(const std::string& why) noexcept {
  if (!failure_.empty()) return;
  failure_ = why;
  static_cast<void>(ncclGroupStart());
  for (Lane* lane : lanes_) lane->communicator().abort();
  static_cast<void>(ncclGroupEnd());
}

void NcclRank::poll(Patience patience) {
  rethrow_failure();
  for (Lane* lane : lanes_) {
    const std::string failure = lane->communicator().failure();
    if (!failure.empty()) {
      const NcclFlight* const flight = lane->oldest();
      fail(fmt::format("[{}] {} failed: {}. Look at what the other ranks printed", lane->identity().where(),
                       flight == nullptr ? "the communicator" : text_of(*flight), failure));
      rethrow_failure();
    }
    if (patience == kHostGoesOn) continue;
    NcclFlight* const flight = lane->oldest();
    if (flight == nullptr || !flight->ready.done()) continue;  // it waits for this rank's own kernels
    const Clock::time_point now = Clock::now();
    if (!flight->seen_running) flight->seen_running = now;
    const Clock::duration running = now - *flight->seen_running;
    if (running < lane->timeout()) continue;
    fail(
        fmt::format("[{}] a peer must come within {} s: {} has waited {:.1f} s for {}. Look at what the other ranks "
                    "printed last",
                    lane->identity().where(), std::chrono::duration<double>(lane->timeout()).count(), text_of(*flight),
                    std::chrono::duration<double>(running).count(), peers_of(*flight)));
    rethrow_failure();
  }
}

}  // namespace triptych::parallel
