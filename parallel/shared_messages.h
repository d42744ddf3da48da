#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "parallel/group.h"
#include "parallel/message_lane.h"
#include "parallel/progress.h"
#include "parallel/slot_ring.h"

namespace triptych::parallel {

/// The messages between ranks that share memory, each direction of each pair on a lane of its own. A message that finds
/// room there is sent when start() returns, whatever its receiver does; what does not fit goes on when both poll.
///
/// Messages of one tag are received in the order they were sent, those of several in any: what a rank waits for may lie
/// behind others that it has not asked for, and these it puts aside in memory of its own. While it waits for nothing
/// from a sender it takes nothing from there, so no more is kept for it than a lane holds.
///
/// A receive of another count or type than was sent gets InternalError with what both ranks called.
class SharedMessages : public Progress::Source {
 public:
  /// Lanes of 4 MiB; in large groups shorter ones, which up to 45 ranks together have no more addresses than 1 GiB.
  static MessageLane::Sizes sizes_for(int num_members);
  /// Of the memory that this many ranks need; it must be zero when the first of them starts something. A lane that
  /// nobody sends on is never touched.
  static std::size_t segment_bytes(int num_members, const MessageLane::Sizes& sizes);

  /// `keep` owns the memory at `base`. `members` by seat; this rank is one of them.
  SharedMessages(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                 std::shared_ptr<void> keep, std::byte* base, const std::vector<SlotRing::Member>& members,
                 const MessageLane::Sizes& sizes);
  ~SharedMessages() override;
  SharedMessages(const SharedMessages&) = delete;
  SharedMessages& operator=(const SharedMessages&) = delete;

  /// True if this rank of the group is another of the members.
  bool reaches(int rank) const;
  /// A send to a member, or a recv from one.
  std::shared_ptr<Pending> start(const Operation& message);

  bool advance() override;
  bool idle() const override { return num_open_ == 0; }
  bool rings() const override { return true; }

 private:
  class MessageFlight;
  using Flights = std::deque<std::shared_ptr<MessageFlight>>;
  // A message that nobody had asked for when it came.
  struct Aside {
    MessageLane::Header header;
    std::unique_ptr<std::byte[]> data;
  };
  struct Peer {
    SlotRing::Member member;
    MessageLane to, from;
    Flights sends = {},
            receives = {};  // in the order they were started; none of which the last part has gone or any come
    int64_t num_sent = 0;   // elements of the first of `sends`
    // Where the message goes of which a part has come: to a receive, or to the last of `asides`.
    std::shared_ptr<MessageFlight> receiving = nullptr;
    bool is_last_aside_open = false;
    int64_t num_received = 0;  // of its elements
    std::deque<Aside> asides = {};
  };

  bool send_on(Peer& peer);
  bool receive_from(Peer& peer);
  bool take_asides(Peer& peer);
  bool choose_target(Peer& peer);
  std::shared_ptr<MessageFlight> take_receive_of(Peer& peer, const MessageLane::Header& header);
  int64_t slot_elements(DType dtype) const { return slot_bytes_ / static_cast<int64_t>(dtype_bytes(dtype)); }
  void finish(MessageFlight& flight);
  void fail_all(std::exception_ptr failure);

  std::shared_ptr<const GroupIdentity> identity_;
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<void> keep_;
  int64_t slot_bytes_;
  std::vector<std::unique_ptr<Peer>> peers_;
  int num_open_ = 0;  // flights that are not finished
  std::exception_ptr failure_;
};

}  // namespace triptych::parallel
