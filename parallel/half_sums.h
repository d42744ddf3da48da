#pragma once

#include <memory>

#include "parallel/group.h"
#include "tensor/tensor.h"

namespace triptych::parallel {

/// Of 16-bit summands [ranks, count]: their sums in float32, in the order of the ranks, rounded once to `dtype`.
void sum_summands(const Tensor& summands, void* to, DType dtype);

/// An all-reduce of 16-bit summands that travel as they are, while each rank sums in float32: half the bytes of one in
/// float32. All ranks get the same bits.
///
/// Among more than two ranks it has two parts, each a collective: pieces of the summands to the rank that sums them,
/// then the sums to all.
class HalfSums {
 public:
  /// Starts it.
  ///   local   contiguous, 16 bits; kept
  ///   sums    what sums are rounded to before they travel. Between two ranks they do not: each gets the other's
  ///           summands and sums them itself
  ///   part    whose memory the summands and sums on their way are
  HalfSums(const Tensor& local, Group& group, DType sums, MemoryPart part = MemoryPart::kOther);

  /// Starts the second part, which waits for the first; does nothing the second time. All ranks call it at the same
  /// place among the operations of their groups.
  void cross();
  /// Whether `finish` would not wait for any other rank.
  bool test();
  /// Returns when nothing of it is in flight, with no result: for who gives it up.
  void wait() { pending_->wait(); }
  /// Leaves the sums in `to`, as many of `dtype`. Once.
  void finish(void* to, DType dtype);

 private:
  Group* group_;
  DType sums_dtype_;
  MemoryPart part_;
  bool has_crossed_;
  Tensor sent_, received_;  // received: summands [ranks, count], later the sums [ranks * count]
  int64_t count_;           // of results
  std::shared_ptr<Pending> pending_;
};

}  // namespace triptych::parallel
