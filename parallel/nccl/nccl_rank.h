#pragma once

#include <exception>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "parallel/nccl/lane.h"

namespace triptych::parallel {

/// What all NCCL groups of one rank share: a failure anywhere ends them all, since the step is lost, and since
/// communicators can only be aborted together. Owned by the device's compute stream.
class NcclRank {
 public:
  static NcclRank& of(Device& device) { return device.stream().state<NcclRank>(); }

  void add(Lane& lane, HostWatches& watches);
  void remove(Lane& lane, HostWatches& watches);

  enum Patience { kHostGoesOn, kHostWaits };
  /// Looks whether a communicator has failed and, while the host waits, whether an operation runs for too long; then
  /// aborts all and throws PeerError, now and from every call that follows.
  void poll(Patience patience);
  void rethrow_failure() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  /// Aborts everything that this rank has in flight; `why` is what every operation and wait throws from now on.
  void fail(std::exception_ptr why) noexcept;

 private:
  std::vector<Lane*> lanes_;
  std::exception_ptr failure_;
};

}  // namespace triptych::parallel
