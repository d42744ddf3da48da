#include <algorithm>

#include <fmt/format.h>

#include "emulator/nccl/runs.h"
#include "emulator/nccl/staging.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

constexpr uint64_t kPieceBytes = decltype(PairState::pieces)::value_type::kCapacity;

}  // namespace

MessageRun::MessageRun(Comm& comm, DeviceMemory& memory, const Call& call, uint64_t number, std::string who)
    : Run(comm, memory, call, number, std::move(who)),
      pair_(call.record.kind == CallKind::kSend ? comm.pair(comm.rank(), call.record.peer)
                                                : comm.pair(call.record.peer, comm.rank())),
      num_pieces_(std::max<uint64_t>(1, (call.record.bytes() + kPieceBytes - 1) / kPieceBytes)) {}

bool MessageRun::done() const {
  return num_moved_ == num_pieces_ && (!sends() || pair_.read.load() >= first_piece_ + num_pieces_);
}

bool MessageRun::advance() {
  if (!begun_) {
    first_piece_ = sends() ? pair_.written.load() : pair_.read.load();
    begun_ = true;
  }
  return sends() ? advance_send() : advance_recv();
}

bool MessageRun::advance_send() {
  bool moved = false;
  while (num_moved_ < num_pieces_ && pair_.written.load() - pair_.read.load() < PairState::kNumPieces) {
    auto& slot = pair_.pieces[pair_.written.load() % PairState::kNumPieces];
    slot.call = call_.record;
    slot.number = number_;
    slot.begin = num_moved_ * kPieceBytes;
    load(memory_, call_.send + slot.begin,
         static_cast<uint32_t>(std::min(kPieceBytes, call_.record.bytes() - slot.begin)), false, slot, who_);
    ++num_moved_;
    pair_.written.fetch_add(1);
    moved = true;
  }
  return moved || done();
}

bool MessageRun::advance_recv() {
  bool moved = false;
  while (num_moved_ < num_pieces_ && pair_.written.load() > pair_.read.load()) {
    const auto& slot = pair_.pieces[pair_.read.load() % PairState::kNumPieces];
    if (slot.call.count != call_.record.count || slot.call.type != call_.record.type || slot.number != number_ ||
        slot.begin != num_moved_ * kPieceBytes) {
      report("nccl-mismatch",
             fmt::format("{}: both ends of a message must state the same count and type. Message number "
                         "{} from {}: it calls {}; {} calls {} as number {}.",
                         comm_.where(), slot.number, comm_.rank_text(call_.record.peer), slot.call.text(),
                         comm_.rank_text(comm_.rank()), call_.record.text(), number_));
    }
    store(slot, 0, slot.length, memory_, call_.recv + slot.begin, who_);
    ++num_moved_;
    pair_.read.fetch_add(1);
    moved = true;
  }
  return moved;
}

}  // namespace triptych::emulator
