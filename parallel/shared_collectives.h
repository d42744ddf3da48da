#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/slot_ring.h"

namespace triptych::parallel {

/// The collectives of a group whose ranks all share memory: each rank copies its data piece by piece into slots of its
/// own, and reads those of the others. Sums are taken in the order of the ranks, so every rank has the same bits. Large
/// all-reduces among three ranks or more are combined: each rank sums its part of the piece over all slots, and puts
/// the sum into its own slot.
class SharedCollectives : public SlotRing {
 public:
  struct Options {
    int num_slots = 8;
    int64_t slot_bytes = 128 << 10;
    /// All-reduces above this many bytes, among three ranks or more, are summed in parts.
    int64_t direct_bytes = 16 << 10;
  };

  /// Of the segment that `size` ranks need; it must be zero when the first of them starts something.
  static std::size_t segment_bytes(int size, const Options& options);

  /// `keep` owns the memory at `base`. `bells` are the doorbells of the group's ranks.
  SharedCollectives(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                    std::shared_ptr<void> keep, std::byte* base, const std::vector<Doorbell*>& bells,
                    const Options& options);

 protected:
  int64_t piece_elements(const Operation& operation) const override;
  bool combines(const Operation& operation) const override;
  void fill(const Piece& piece) override;
  bool combine(const Piece& piece) override;
  void drain(const Piece& piece) override;

 private:
  int64_t direct_bytes_;
  int rank_, size_;
};

}  // namespace triptych::parallel
