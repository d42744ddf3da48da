#include "parallel/shared_messages.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace triptych::parallel {

using Kind = Operation::Kind;

class SharedMessages::MessageFlight : public Flight {
 public:
  MessageFlight(const SharedMessages& owner, const Peer& peer, const Operation& operation)
      : Flight(owner.progress_, owner.identity_, operation), peer_(&peer) {}

  // The owner keeps its flights until they are finished or it dies, and only unfinished ones are asked these.
  std::string missing() const override { return identity().rank_text(peer_->member.rank); }
  void check_peers_alive() const override {
    if (operation().kind == Kind::kRecv && !peer_->from.is_empty()) return;
    check_alive(*peer_->member.bell, peer_->member.rank);
  }

 private:
  const Peer* peer_;
};

MessageLane::Sizes SharedMessages::sizes_for(int num_members) {
  constexpr int64_t kMostAddresses = 1 << 30, kFewestSlots = 8, kMostSlots = 64;
  MessageLane::Sizes sizes;
  const int64_t fair = kMostAddresses / (int64_t{num_members} * num_members * sizes.slot_bytes);
  sizes.num_slots = static_cast<int>(std::clamp(fair, kFewestSlots, kMostSlots));
  return sizes;
}

std::size_t SharedMessages::segment_bytes(int num_members, const MessageLane::Sizes& sizes) {
  const std::size_t n = static_cast<std::size_t>(num_members);
  return n * n * MessageLane::bytes(sizes);
}

SharedMessages::SharedMessages(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                               std::shared_ptr<void> keep, std::byte* base,
                               const std::vector<SlotRing::Member>& members, const MessageLane::Sizes& sizes)
    : identity_(std::move(identity)),
      progress_(std::move(progress)),
      keep_(std::move(keep)),
      slot_bytes_(sizes.slot_bytes) {
  TRIPTYCH_CHECK(reinterpret_cast<std::uintptr_t>(base) % MessageLane::kAlignment == 0, "lanes at {}",
                 static_cast<const void*>(base));
  TRIPTYCH_CHECK(sizes.slot_bytes > 0 && sizes.slot_bytes % 128 == 0, "slots of {} bytes", sizes.slot_bytes);
  const std::size_t num = members.size();
  const auto own = std::find_if(members.begin(), members.end(),
                                [this](const SlotRing::Member& member) { return member.rank == identity_->rank; });
  TRIPTYCH_CHECK(own != members.end(), "rank {} has no seat", identity_->rank);
  const std::size_t mine = static_cast<std::size_t>(own - members.begin());
  const auto lane = [&](std::size_t from, std::size_t to) {
    return MessageLane(base + (from * num + to) * MessageLane::bytes(sizes), sizes);
  };
  for (std::size_t seat = 0; seat < num; ++seat) {
    if (seat == mine) continue;
    peers_.push_back(
        std::make_unique<Peer>(Peer{.member = members[seat], .to = lane(mine, seat), .from = lane(seat, mine)}));
  }
  progress_->add(this);
}

SharedMessages::~SharedMessages() {
  progress_->remove(this);
  fail_all(std::make_exception_ptr(InternalError(identity_->where(), "was destroyed with a message in flight")));
}

bool SharedMessages::reaches(int rank) const {
  return std::any_of(peers_.begin(), peers_.end(), [rank](const auto& peer) { return peer->member.rank == rank; });
}

std::shared_ptr<Pending> SharedMessages::start(const Operation& message) {
  if (failure_) std::rethrow_exception(failure_);
  const auto found =
      std::find_if(peers_.begin(), peers_.end(), [&](const auto& peer) { return peer->member.rank == message.peer; });
  TRIPTYCH_CHECK(found != peers_.end(), "{} does not share this memory", identity_->rank_text(message.peer));
  Peer& peer = **found;
  auto flight = std::make_shared<MessageFlight>(*this, peer, message);
  (message.kind == Kind::kSend ? peer.sends : peer.receives).push_back(flight);
  ++num_open_;
  advance();
  return flight;
}

bool SharedMessages::advance() {
  bool moved = false;
  try {
    for (const auto& peer : peers_) {
      moved |= send_on(*peer);
      moved |= receive_from(*peer);
    }
  } catch (const Error&) {
    fail_all(std::current_exception());
    moved = true;
  }
  return moved;
}

bool SharedMessages::send_on(Peer& peer) {
  bool moved = false;
  while (!peer.sends.empty() && peer.to.has_room()) {
    MessageFlight& flight = *peer.sends.front();
    const Operation& op = flight.operation();
    const MessageLane::Slot slot = peer.to.back();
    *slot.header = {
        .sequence = op.sequence, .count = op.count, .begin = peer.num_sent, .tag = op.tag, .dtype = op.dtype};
    const int64_t length = std::min(op.count - peer.num_sent, slot_elements(op.dtype));
    copy_elements(slot.data, element_at(op.send, peer.num_sent, op.dtype), length, op.dtype);
    peer.to.publish();
    peer.member.bell->ring();
    moved = true;
    peer.num_sent += length;
    if (peer.num_sent < op.count) continue;
    finish(flight);
    peer.sends.pop_front();
    peer.num_sent = 0;
  }
  return moved;
}

bool SharedMessages::receive_from(Peer& peer) {
  bool moved = take_asides(peer);
  while (!peer.from.is_empty() && choose_target(peer)) {
    const MessageLane::Slot slot = peer.from.front();
    const MessageLane::Header header = *slot.header;
    const int64_t length = std::min(header.count - header.begin, slot_elements(header.dtype));
    void* const to = peer.receiving ? peer.receiving->operation().recv : peer.asides.back().data.get();
    copy_elements(element_at(to, header.begin, header.dtype), slot.data, length, header.dtype);
    if (peer.from.pop()) peer.member.bell->ring();
    moved = true;
    peer.num_received += length;
    if (peer.num_received < header.count) continue;
    if (peer.receiving) finish(*std::exchange(peer.receiving, nullptr));
    peer.is_last_aside_open = false;
    peer.num_received = 0;
  }
  return moved;
}

// Gives what was put aside to whoever has asked for it since.
bool SharedMessages::take_asides(Peer& peer) {
  bool moved = false;
  for (auto aside = peer.asides.begin(); aside != peer.asides.end();) {
    const std::shared_ptr<MessageFlight> flight = take_receive_of(peer, aside->header);
    if (!flight) {
      ++aside;
      continue;
    }
    const bool is_open = peer.is_last_aside_open && std::next(aside) == peer.asides.end();
    const int64_t length = is_open ? peer.num_received : aside->header.count;
    copy_elements(flight->operation().recv, aside->data.get(), length, aside->header.dtype);
    if (is_open) {
      peer.receiving = flight;
      peer.is_last_aside_open = false;
    } else {
      finish(*flight);
    }
    aside = peer.asides.erase(aside);
    moved = true;
  }
  return moved;
}

// False if what lies in the first slot stays there for now.
bool SharedMessages::choose_target(Peer& peer) {
  if (peer.receiving) return true;
  if (peer.is_last_aside_open) return !peer.receives.empty();
  const MessageLane::Header& header = *peer.from.front().header;
  peer.receiving = take_receive_of(peer, header);
  if (peer.receiving) return true;
  if (peer.receives.empty()) return false;
  const std::size_t bytes = static_cast<std::size_t>(header.count) * dtype_bytes(header.dtype);
  peer.asides.push_back({.header = header, .data = std::make_unique_for_overwrite<std::byte[]>(bytes)});
  peer.is_last_aside_open = true;
  return true;
}

// The first receive of this tag, which now is no longer among those that wait for a message; null if there is none.
std::shared_ptr<SharedMessages::MessageFlight> SharedMessages::take_receive_of(Peer& peer,
                                                                               const MessageLane::Header& header) {
  const auto found = std::find_if(peer.receives.begin(), peer.receives.end(),
                                  [&](const auto& flight) { return flight->operation().tag == header.tag; });
  if (found == peer.receives.end()) return nullptr;
  const Operation& called = (*found)->operation();
  if (called.count != header.count || called.dtype != header.dtype || called.sequence != header.sequence) {
    const Operation sent{.kind = Kind::kSend,
                         .dtype = header.dtype,
                         .peer = identity_->rank,
                         .tag = header.tag,
                         .count = header.count,
                         .sequence = header.sequence};
    throw InternalError(
        identity_->where(),
        fmt::format("both ranks must state the same count and type; {}: number {}, {}; {}: number {}, {}",
                    identity_->rank_text(identity_->rank), called.sequence, called.to_string(),
                    identity_->rank_text(peer.member.rank), sent.sequence, sent.to_string()));
  }
  std::shared_ptr<MessageFlight> flight = std::move(*found);
  peer.receives.erase(found);
  return flight;
}

void SharedMessages::finish(MessageFlight& flight) {
  flight.complete();
  --num_open_;
}

void SharedMessages::fail_all(std::exception_ptr failure) {
  failure_ = failure;
  for (const auto& peer : peers_) {
    for (const auto& flight : peer->sends) flight->fail(failure);
    for (const auto& flight : peer->receives) flight->fail(failure);
    if (peer->receiving) peer->receiving->fail(failure);
    peer->sends.clear();
    peer->receives.clear();
    peer->receiving = nullptr;
  }
  num_open_ = 0;
}

}  // namespace triptych::parallel
