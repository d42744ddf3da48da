#include "emulator/nccl/batch_work.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookInterval = 50ms;  // at a possible ring: far longer than a rank needs to look at its own work

std::string text_of(const Comm& comm, const std::vector<Call>& calls) {
  const std::string first = calls.front().record.text();
  return fmt::format("{} on {}",
                     calls.size() == 1 ? first : fmt::format("a group of {} calls ({}, ...)", calls.size(), first),
                     comm.where());
}

}  // namespace

BatchWork::BatchWork(std::shared_ptr<Comm> comm, DeviceMemory& memory, const std::vector<Call>& calls)
    : comm_(std::move(comm)),
      name_(text_of(*comm_, calls)),
      number_(comm_->next_batch()),
      calls_(calls),
      deadlock_(*comm_) {
  for (const Call& call : calls_) {
    const CallRecord& record = call.record;
    if (record.is_message()) {
      const bool sends = record.kind == CallKind::kSend;
      const uint64_t number = sends ? comm_->next_sent(record.peer) : comm_->next_received(record.peer);
      messages_.push_back(std::make_unique<MessageRun>(*comm_, memory, call, number, name_));
    } else {
      collectives_.push_back(std::make_unique<CollectiveRun>(*comm_, memory, call, comm_->next_collective(), name_));
    }
  }
}

bool BatchWork::advance() {
  if (comm_->aborted()) {
    aborted_ = true;
    return true;
  }
  if (comm_->num_done.load() != number_) return false;
  if (!begun_) {
    begun_ = true;
    last_move_ = Clock::now();
    comm_->own().moves.fetch_add(1);
    comm_->set_doing("is in " + name_);
  }
  const bool moved = advance_runs();
  if (done()) {
    comm_->own().waits_for.store(0);
    comm_->own().moves.fetch_add(1);
    comm_->set_doing("has done " + name_ + " and nothing since");
    comm_->num_done.store(number_ + 1);
    return true;
  }
  watch(moved);
  return false;
}

bool BatchWork::advance_runs() {
  bool moved = false;
  for (const auto& collective : collectives_) {
    if (!collective->done() && collective->advance()) moved = true;
    if (!collective->done()) return moved;  // the messages' kernel comes after the collectives'
  }
  std::set<const PairState*> blocked_sends, blocked_recvs;  // messages between two ranks keep their order
  for (const auto& message : messages_) {
    std::set<const PairState*>& blocked = message->sends() ? blocked_sends : blocked_recvs;
    if (message->done() || blocked.count(&message->pair()) != 0) continue;
    if (message->advance()) moved = true;
    if (!message->done()) blocked.insert(&message->pair());
  }
  return moved;
}

bool BatchWork::done() const {
  const auto is_done = [](const auto& run) { return run->done(); };
  return std::all_of(collectives_.begin(), collectives_.end(), is_done) &&
         std::all_of(messages_.begin(), messages_.end(), is_done);
}

void BatchWork::watch(bool moved) {
  uint64_t waits_for = 0;
  for (const auto& collective : collectives_) waits_for |= collective->waits_for();
  if (waits_for == 0) {
    for (const auto& message : messages_) waits_for |= message->waits_for();
  }
  RankState& own = comm_->own();
  own.waits_for.store(waits_for);
  own.polls.fetch_add(1);
  const Clock::time_point now = Clock::now();
  if (moved) {
    own.moves.fetch_add(1);
    last_move_ = now;
    return;
  }
  if (now < next_look_) return;
  next_look_ = now + kLookInterval;
  const std::vector<int> ring = deadlock_.look();
  if (!ring.empty()) {
    std::string text;
    for (const int rank : ring) {
      text +=
          fmt::format("{}{} {}", text.empty() ? "" : ", and waits for ", comm_->rank_text(rank), comm_->doing(rank));
    }
    report("nccl-deadlock",
           fmt::format("{}: ranks wait for each other: {}, and waits for the first. A message keeps its "
                       "stream until its peer comes: put what must move together into a group, or "
                       "use a communicator and a stream for each direction.",
                       comm_->where(), text));
  }
  if (now - last_move_ < nccl_timeout()) return;
  report("nccl-timeout",
         fmt::format("{}: {} has waited {} s in {} for {}.", comm_->where(), comm_->rank_text(comm_->rank()),
                     nccl_timeout().count(), name_, comm_->describe_ranks(waits_for)));
}

std::vector<Access> BatchWork::accesses() const {
  std::vector<Access> result;
  if (aborted_) return result;
  for (const Call& call : calls_) {
    for (const Access& access : call.accesses(comm_->size(), comm_->rank())) result.push_back(access);
  }
  return result;
}

}  // namespace triptych::emulator
