#include "parallel/message_lane.h"

#include <atomic>

#include "base/checked.h"

namespace triptych::parallel {

// The first line is the sender's, the second the receiver's. A count says how many slots have been filled or emptied.
struct MessageLane::Counters {
  alignas(128) std::atomic<int64_t> filled;
  std::atomic<uint32_t> wants_room;
  alignas(128) std::atomic<int64_t> emptied;
};

namespace {

struct alignas(64) PaddedHeader {
  MessageLane::Header header;
};

}  // namespace

std::size_t MessageLane::bytes(const Sizes& sizes) {
  static_assert(alignof(Counters) == kAlignment);
  const int64_t slots = sizes.num_slots * (static_cast<int64_t>(sizeof(PaddedHeader)) + sizes.slot_bytes);
  return sizeof(Counters) + static_cast<std::size_t>(round_up(slots, kAlignment));
}

MessageLane::Counters& MessageLane::counters() const {
  static_assert(std::atomic<int64_t>::is_always_lock_free);
  return *reinterpret_cast<Counters*>(base_);
}

MessageLane::Slot MessageLane::slot(int64_t position) const {
  auto* const headers = reinterpret_cast<PaddedHeader*>(base_ + sizeof(Counters));
  auto* const data = reinterpret_cast<std::byte*>(headers + sizes_.num_slots);
  const int64_t index = position % sizes_.num_slots;
  return {.header = &headers[index].header, .data = data + index * sizes_.slot_bytes};
}

// Sequentially consistent, as Doorbell wants it: the receiver empties and then looks at `wants_room`, the sender sets
// that and then looks again, so one of the two sees the other.
bool MessageLane::has_room() {
  Counters& all = counters();
  const auto is_full = [&] { return position_ - all.emptied.load() >= sizes_.num_slots; };
  if (is_full()) {
    all.wants_room.store(1);
    if (is_full()) return false;
  }
  if (all.wants_room.load(std::memory_order_relaxed) != 0) all.wants_room.store(0);
  return true;
}

void MessageLane::publish() {
  counters().filled.store(++position_);
}

bool MessageLane::is_empty() const {
  return counters().filled.load() == position_;
}

bool MessageLane::pop() {
  counters().emptied.store(++position_);
  return counters().wants_room.load() != 0;
}

}  // namespace triptych::parallel
