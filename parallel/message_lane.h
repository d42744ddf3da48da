#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace triptych::parallel {

/// One direction between two ranks that share memory: slots that the one fills in turn and the other empties. Each of
/// the two has an object of this class over the same memory, which was zero at first, and calls its own half of it.
class MessageLane {
 public:
  struct Sizes {
    int num_slots = 64;
    int64_t slot_bytes = 64 << 10;
  };
  /// What lies in a slot: elements [begin, ...) of a message, as many as fit or are left.
  struct Header {
    int64_t sequence = 0, count = 0, begin = 0;
    int32_t tag = 0;
    DType dtype = DType::kFloat32;
  };
  struct Slot {
    Header* header;
    std::byte* data;
  };

  /// Of a lane's memory, and what its bytes are a multiple of.
  static constexpr int64_t kAlignment = 128;
  static std::size_t bytes(const Sizes& sizes);
  MessageLane(std::byte* base, const Sizes& sizes) : base_(base), sizes_(sizes) {}

  // The sender's. A slot without room has the receiver told to ring.
  bool has_room();
  /// The next slot to fill; there must be room.
  Slot back() const { return slot(position_); }
  void publish();

  // The receiver's.
  bool is_empty() const;
  /// The first slot that is not emptied; there must be one.
  Slot front() const { return slot(position_); }
  /// True if the sender must be rung: it waits for room.
  bool pop();

 private:
  struct Counters;
  Counters& counters() const;
  Slot slot(int64_t position) const;

  std::byte* base_;
  Sizes sizes_;
  int64_t position_ = 0;  // slots that this object's owner has filled, or emptied
};

}  // namespace triptych::parallel
