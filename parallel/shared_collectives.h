#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "parallel/group.h"
#include "parallel/progress.h"

namespace triptych::parallel {

/// The collectives of a group whose ranks share memory: each rank copies its data piece by piece into slots of its own,
/// and reads those of the others. Sums are taken in the order of the ranks, so every rank has the same bits.
///
/// A piece goes through three stages, each counted per rank in the segment:
///   fill     this rank's data lie in its slot
///   combine  (large all-reduces among three ranks or more) this rank has summed its part of the piece over all slots,
///            and put the sum into its own slot; waits for all to have filled
///   drain    this rank has copied what it needs; waits for all to have combined
/// A slot is filled again when all ranks have drained it. What fits into the slots is published by start(), so peers
/// finish without this rank's help; the rest moves whenever this rank polls.
///
/// Every slot carries the operation it is for: ranks that disagree get InternalError with what each of them called.
class SharedCollectives : public Progress::Source {
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
                    std::shared_ptr<void> keep, std::byte* base, std::vector<Doorbell*> bells, const Options& options);
  ~SharedCollectives() override;
  SharedCollectives(const SharedCollectives&) = delete;
  SharedCollectives& operator=(const SharedCollectives&) = delete;

  /// A collective of several ranks.
  std::shared_ptr<Pending> start(const Operation& operation);

  bool advance() override;
  bool idle() const override { return flights_.empty(); }
  bool rings() const override { return true; }

 private:
  struct Counters;
  struct SlotHeader;
  class StagedFlight;

  Counters& counters(int rank) const;
  SlotHeader& header(int rank, int64_t step) const;
  std::byte* slot(int rank, int64_t step) const;
  StagedFlight& flight_of(int64_t step) const;

  bool try_fill();
  bool try_combine();
  bool try_drain();
  bool all_agree_on(int64_t step);
  void ring_peers();
  void fail_all(std::exception_ptr failure);

  bool sums_in_parts(const Operation& operation) const;
  int64_t piece_elements(const Operation& operation) const;
  void fill(const StagedFlight& flight, int64_t step);
  void combine(const StagedFlight& flight, int64_t step);
  void drain(const StagedFlight& flight, int64_t step);

  std::shared_ptr<const GroupIdentity> identity_;
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<void> keep_;
  std::byte* base_;
  std::vector<Doorbell*> bells_;
  Options options_;
  int rank_, size_;
  std::deque<std::shared_ptr<StagedFlight>> flights_;  // in the order they were started
  int64_t end_ = 0;                                    // the step after the last one started
  int64_t filled_ = 0, combined_ = 0, drained_ = 0;    // this rank's counters
  int64_t agreed_ = 0;                                 // the first step not yet known to be the same operation on all
  std::exception_ptr failure_;
};

}  // namespace triptych::parallel
