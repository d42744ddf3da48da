#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "parallel/group.h"
#include "parallel/progress.h"

namespace triptych::parallel {

/// Collectives among ranks that share memory, piece by piece: each rank has slots of its own there, which it fills and
/// all of them read. What is done with a piece is said by a derived class.
///
/// A piece goes through three stages, each counted per rank in the segment:
///   fill     this rank's data lie in its slot
///   combine  this rank's share of the work on the piece is done, and lies in its own slot; waits for all to have
///   filled drain    this rank has copied what it needs; waits for all to have combined
/// A slot is filled again when all ranks have drained it. What fits into the slots is published by start(), so peers
/// finish without this rank's help; the rest moves whenever this rank polls.
///
/// Every slot carries the operation it is for: ranks that disagree get InternalError with what each of them called.
class SlotRing : public Progress::Source {
 public:
  struct Sizes {
    int num_slots = 8;
    int64_t slot_bytes = 128 << 10;
  };
  /// One of the ranks that share memory, which have seats from 0.
  struct Member {
    int rank = 0;              ///< in the group
    Doorbell* bell = nullptr;  ///< may be null for this rank's own
  };

  /// Of the memory that this many ranks need; it must be zero when the first of them starts something.
  static std::size_t segment_bytes(int num_members, const Sizes& sizes);

  ~SlotRing() override;
  SlotRing(const SlotRing&) = delete;
  SlotRing& operator=(const SlotRing&) = delete;

  /// A collective of several ranks.
  std::shared_ptr<Pending> start(const Operation& operation);

  bool advance() override;
  bool idle() const override { return flights_.empty(); }
  bool rings() const override { return true; }

 protected:
  /// What one step moves of an operation: elements [begin, begin + length) of each row.
  struct Piece {
    const Operation& operation;
    int64_t step, begin, length;
  };

  /// `keep` owns the memory at `base`. `members` by seat; this rank is one of them.
  SlotRing(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
           std::shared_ptr<void> keep, std::byte* base, std::vector<Member> members, const Sizes& sizes);

  /// Elements of a row in a piece, but for the last: alike on all ranks.
  virtual int64_t piece_elements(const Operation& operation) const = 0;
  /// False if no rank has anything to do between fill and drain.
  virtual bool combines(const Operation& operation) const = 0;
  virtual void fill(const Piece& piece) = 0;
  /// Called again and again, of several pieces in turn, until it says that it is done.
  virtual bool combine(const Piece& piece) = 0;
  virtual void drain(const Piece& piece) = 0;
  /// Whom this rank waits for although all that share memory with it have filled the piece; empty if nobody.
  virtual std::string missing_elsewhere(int64_t) const { return {}; }

  const GroupIdentity& identity() const { return *identity_; }
  int num_members() const { return static_cast<int>(members_.size()); }
  int seat() const { return seat_; }
  const Sizes& sizes() const { return sizes_; }
  std::byte* slot(int seat, int64_t step) const;

  /// What a rank of the group called.
  struct Call {
    int rank = 0;
    Operation operation;
  };
  /// Throws InternalError that names the calls, of which two disagree at least.
  [[noreturn]] void refuse(const std::vector<Call>& calls) const;

 private:
  struct Counters;
  struct SlotHeader;
  class StagedFlight;

  Counters& counters(int seat) const;
  SlotHeader& header(int seat, int64_t step) const;
  StagedFlight& flight_of(int64_t step) const;

  bool try_fill();
  bool try_combine();
  bool try_drain();
  bool all_agree_on(int64_t step);
  void ring_peers();
  void fail_all(std::exception_ptr failure);

  std::shared_ptr<const GroupIdentity> identity_;
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<void> keep_;
  std::byte* base_;
  std::vector<Member> members_;
  Sizes sizes_;
  int seat_ = 0;
  std::deque<std::shared_ptr<StagedFlight>> flights_;  // in the order they were started
  int64_t end_ = 0;                                    // the step after the last one started
  int64_t filled_ = 0, combined_ = 0, drained_ = 0;    // this rank's counters
  std::vector<bool> is_combined_;                      // by slot: steps that are ahead of combined_
  int64_t agreed_ = 0;                                 // the first step not yet known to be the same operation on all
  std::exception_ptr failure_;
};

/// `length` elements from `from` to `to`, of which none may be.
void copy_elements(void* to, const void* from, int64_t length, DType dtype);
const std::byte* element_at(const void* base, int64_t element, DType dtype);
std::byte* element_at(void* base, int64_t element, DType dtype);

/// What one of several ranks does of a piece of `length` elements: begins on a cache line of its own.
struct Part {
  int64_t begin = 0, length = 0;
  int64_t end() const { return begin + length; }
};
inline constexpr int64_t kPartAlignment = 16;  // elements
Part part_of(int64_t length, int size, int index);

}  // namespace triptych::parallel
