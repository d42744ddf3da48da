#include "emulator/nccl/connect.h"

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator {

using Clock = std::chrono::steady_clock;

Connect::Connect(std::shared_ptr<Comm> comm, const std::vector<Call>& calls)
    : comm_(std::move(comm)), what_(calls.front().record.text()), begin_(Clock::now()) {
  for (const Call& call : calls) {
    const uint64_t peer = uint64_t{1} << call.record.peer;
    if (call.record.kind == CallKind::kSend) {
      needs_sends_to_ |= peer;
    } else if (call.record.kind == CallKind::kRecv) {
      needs_recvs_from_ |= peer;
    } else {
      needs_collectives_ = true;
    }
  }
  RankState& own = comm_->own();
  needs_sends_to_ &= ~own.connects_sends_to.fetch_or(needs_sends_to_);
  needs_recvs_from_ &= ~own.connects_recvs_from.fetch_or(needs_recvs_from_);
  if (needs_collectives_) needs_collectives_ = own.connects_collectives.exchange(1) == 0;
}

uint64_t Connect::missing() const {
  const uint64_t own = uint64_t{1} << comm_->rank();
  uint64_t mask = 0;
  for (int r = 0; r < comm_->size(); ++r) {
    const uint64_t bit = uint64_t{1} << r;
    const RankState& state = comm_->state(r);
    if (needs_collectives_ && state.connects_collectives.load() == 0) mask |= bit;
    if ((needs_sends_to_ & bit) != 0 && (state.connects_recvs_from.load() & own) == 0) mask |= bit;
    if ((needs_recvs_from_ & bit) != 0 && (state.connects_sends_to.load() & own) == 0) mask |= bit;
  }
  return mask;
}

bool Connect::advance() {
  const uint64_t mask = missing();
  if (mask == 0) return true;
  if (Clock::now() - begin_ < nccl_timeout()) return false;
  report("nccl-timeout",
         fmt::format("{}: {} has waited {} s to be connected for {} to {}.", comm_->where(),
                     comm_->rank_text(comm_->rank()), nccl_timeout().count(), what_, comm_->describe_ranks(mask)));
}

}  // namespace triptych::emulator
