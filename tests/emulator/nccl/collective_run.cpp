#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "emulator/nccl/runs.h"
#include "emulator/nccl/staging.h"
#include "emulator/violation.h"

namespace triptych::emulator {

CollectiveRun::CollectiveRun(Comm& comm, DeviceMemory& memory, const Call& call, uint64_t number, std::string who)
    : Run(comm, memory, call, number, std::move(who)) {
  const uint64_t num_rows =
      call.record.kind == CallKind::kReduceScatter ? static_cast<uint64_t>(comm.size()) : uint64_t{1};
  total_bytes_ = num_rows * call.record.bytes();
  num_steps_ = std::max<uint64_t>(1, (total_bytes_ + Step::kCapacity - 1) / Step::kCapacity);
}

// Only once its turn has come: steps are numbered in the order in which the collectives run.
void CollectiveRun::begin() {
  first_step_ = comm_.num_steps;
  comm_.num_steps += num_steps_;
  begun_ = true;
}

bool CollectiveRun::advance() {
  if (!begun_) begin();
  bool moved = false;
  while (!done()) {
    if (num_filled_ < num_steps_ && can_fill()) {
      fill();
    } else if (can_consume()) {
      consume();
    } else {
      break;
    }
    moved = true;
  }
  return moved;
}

bool CollectiveRun::can_fill() const {
  const uint64_t step = first_step_ + num_filled_;
  if (step < RankState::kNumSteps) return true;
  for (int r = 0; r < comm_.size(); ++r) {
    if (comm_.state(r).drained.load() + RankState::kNumSteps <= step) return false;
  }
  return true;
}

bool CollectiveRun::can_consume() const {
  const uint64_t step = first_step_ + num_consumed_;
  for (int r = 0; r < comm_.size(); ++r) {
    if (comm_.state(r).filled.load() <= step) return false;
  }
  return true;
}

uint64_t CollectiveRun::waits_for() const {
  if (done() || !begun_) return 0;
  const uint64_t step = first_step_ + num_consumed_;
  const bool filled = num_filled_ > num_consumed_;
  uint64_t mask = 0;
  for (int r = 0; r < comm_.size(); ++r) {
    const bool is_missing = comm_.state(r).filled.load() <= step;
    const bool keeps_slot = !filled && comm_.state(r).drained.load() + RankState::kNumSteps <= step;
    if (r != comm_.rank() && (is_missing || keeps_slot)) mask |= uint64_t{1} << r;
  }
  return mask;
}

void CollectiveRun::fill() {
  const uint64_t step = first_step_ + num_filled_, begin = num_filled_ * Step::kCapacity;
  Step& slot = comm_.own().steps[step % RankState::kNumSteps];
  slot.call = call_.record;
  slot.number = number_;
  slot.begin = begin;
  const bool contributes = call_.record.kind != CallKind::kBroadcast || comm_.rank() == call_.record.peer;
  const uint64_t length = contributes ? std::min<uint64_t>(Step::kCapacity, total_bytes_ - begin) : 0;
  load(memory_, call_.send + begin, static_cast<uint32_t>(length), call_.record.reduces(), slot, who_);
  comm_.own().filled.store(step + 1);
  ++num_filled_;
}

void CollectiveRun::check_agreement(int other, const Step& slot) const {
  const bool agrees =
      slot.call.agrees_with(call_.record) && slot.number == number_ && slot.begin == num_consumed_ * Step::kCapacity;
  if (agrees) return;
  report("nccl-mismatch",
         fmt::format("{}: the ranks must call the same, in the same order, with the same count, type, operation and "
                     "root. {} calls {} as collective number {}, {} calls {} as number {}.",
                     comm_.where(), comm_.rank_text(comm_.rank()), call_.record.text(), number_, comm_.rank_text(other),
                     slot.call.text(), slot.number));
}

void CollectiveRun::consume() {
  const uint64_t step = first_step_ + num_consumed_, begin = num_consumed_ * Step::kCapacity;
  const auto slot_of = [&](int rank) -> const Step& { return comm_.state(rank).steps[step % RankState::kNumSteps]; };
  for (int r = 0; r < comm_.size(); ++r) check_agreement(r, slot_of(r));
  const uint64_t end = std::min<uint64_t>(begin + Step::kCapacity, total_bytes_), row = call_.record.bytes();
  switch (call_.record.kind) {
    case CallKind::kAllGather:
      for (int r = 0; r < comm_.size(); ++r) {
        store(slot_of(r), 0, slot_of(r).length, memory_, call_.recv + static_cast<uint64_t>(r) * row + begin, who_);
      }
      break;
    case CallKind::kBroadcast: {
      const Step& slot = slot_of(call_.record.peer);
      store(slot, 0, slot.length, memory_, call_.recv + begin, who_);
      break;
    }
    case CallKind::kReduce:
      if (comm_.rank() == call_.record.peer) combine(begin, end, call_.recv + begin);
      break;
    case CallKind::kAllReduce:
      combine(begin, end, call_.recv + begin);
      break;
    case CallKind::kReduceScatter: {  // the part of the step that lies in this rank's row
      const uint64_t row_begin = static_cast<uint64_t>(comm_.rank()) * row;
      const uint64_t from = std::max(begin, row_begin), to = std::min(end, row_begin + row);
      if (from < to) combine(from, to, call_.recv + from - row_begin);
      break;
    }
    case CallKind::kSend:
    case CallKind::kRecv:
      break;
  }
  comm_.own().drained.store(step + 1);
  ++num_consumed_;
}

// Bytes [begin, end) of the contributions, summed in the order of the ranks.
void CollectiveRun::combine(uint64_t begin, uint64_t end, uint64_t to) {
  if (begin == end) return;
  const CallRecord& record = call_.record;
  const uint64_t step = first_step_ + num_consumed_, offset = begin - num_consumed_ * Step::kCapacity;
  const std::size_t length = end - begin, count = length / element_bytes(record.type);
  std::vector<std::byte> sum;
  for (int r = 0; r < comm_.size(); ++r) {
    const std::byte* const values = comm_.state(r).steps[step % RankState::kNumSteps].data.data() + offset;
    if (r == 0) {
      sum.assign(values, values + length);
    } else {
      reduce(sum.data(), values, count, record.type, record.op);
    }
  }
  if (record.op == ncclAvg) finish_average(sum.data(), count, record.type, comm_.size());
  std::copy(sum.begin(), sum.end(), memory_.write(to, length, who_.c_str()));
}

}  // namespace triptych::emulator
