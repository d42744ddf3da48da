#include "parallel/nccl/nccl_rank.h"

#include <algorithm>
#include <utility>

#include "parallel/peer_error.h"

namespace triptych::parallel {
namespace {

using Clock = std::chrono::steady_clock;

// "number 20, all_reduce(sum, float32 x 7) on rank 0 (world rank 2)".
std::string text_of(const NcclFlight& flight) {
  return fmt::format("number {}, {} on {}", flight.operation.sequence, flight.operation.to_string(),
                     flight.identity->rank_text(flight.identity->rank));
}

// "number 20, all_reduce(sum, float32 x 7) in group dp"; only the group where nothing is in flight.
std::string waiting_of(Lane& lane) {
  const NcclFlight* const flight = lane.oldest();
  if (flight == nullptr) return lane.identity().where();
  return fmt::format("number {}, {} in {}", flight->operation.sequence, flight->operation.to_string(),
                     lane.identity().where());
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

void NcclRank::fail(std::exception_ptr why) noexcept {
  if (failure_) return;
  failure_ = std::move(why);
  static_cast<void>(ncclGroupStart());
  for (Lane* lane : lanes_) lane->communicator().abort();
  static_cast<void>(ncclGroupEnd());
}

void NcclRank::poll(Patience patience) {
  rethrow_failure();
  for (Lane* lane : lanes_) {
    if (const std::optional<CommunicatorFailure> failure = lane->communicator().failure()) {
      const NcclFlight* const flight = lane->oldest();
      const std::string what = flight == nullptr ? "the communicator" : text_of(*flight);
      fail(std::make_exception_ptr(
          PeerError(lane->identity().where(),
                    fmt::format("{} failed: {}. Look at what the other ranks printed", what, failure->text),
                    waiting_of(*lane), failure->evidence)));
      rethrow_failure();
    }
    if (patience == kHostGoesOn) continue;
    NcclFlight* const flight = lane->oldest();
    if (flight == nullptr || !flight->ready.done()) continue;  // it waits for this rank's own kernels
    const Clock::time_point now = Clock::now();
    if (!flight->seen_running) flight->seen_running = now;
    const Clock::duration running = now - *flight->seen_running;
    if (running < lane->timeout()) continue;
    fail(std::make_exception_ptr(PeerError(
        lane->identity().where(),
        fmt::format("a peer must come within {} s: {} has waited {:.1f} s for {}. Look at what the other ranks printed "
                    "last",
                    std::chrono::duration<double>(lane->timeout()).count(), text_of(*flight),
                    std::chrono::duration<double>(running).count(), peers_of(*flight)),
        waiting_of(*lane))));
    rethrow_failure();
  }
}

}  // namespace triptych::parallel
