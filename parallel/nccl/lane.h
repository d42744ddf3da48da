#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "device/cuda/cuda_device.h"
#include "parallel/group.h"
#include "parallel/nccl/communicator.h"

namespace triptych::parallel {

class NcclRank;

/// An operation that was put on a communication stream.
struct NcclFlight {
  Operation operation;
  std::shared_ptr<const GroupIdentity> identity;
  CudaEvent ready;  ///< on the compute stream: what the operation reads is there
  CudaEvent done;   ///< on the communication stream
  std::optional<std::chrono::steady_clock::time_point> seen_running;
};

/// A communicator and a stream of its own, on which its operations run one after the other. Operations of different
/// lanes do not wait for each other.
class Lane {
 public:
  /// timeout   how long an operation may run while the host waits
  Lane(Device& device, std::shared_ptr<const GroupIdentity> identity, std::unique_ptr<Communicator> communicator,
       std::chrono::milliseconds timeout);
  /// Waits for what is in flight; while an exception unwinds, ends it.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Queues an operation behind what is on the compute stream now. The host goes on.
  std::shared_ptr<NcclFlight> start(const Operation& operation);
  /// Blocks the host until nothing is in flight.
  void drain();
  Communicator& communicator() { return *communicator_; }
  const GroupIdentity& identity() const { return *identity_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  /// The oldest operation that is not done, or null; forgets those that are.
  NcclFlight* oldest();

 private:
  void check(ncclResult_t code, const Operation& operation);
  void issue(const Operation& operation);
  int other_end(const Operation& operation) const;
  void issue_all_to_all(const Operation& operation);

  Device* device_;
  NcclRank* rank_;
  std::shared_ptr<const GroupIdentity> identity_;
  CudaStream stream_;
  std::unique_ptr<Communicator> communicator_;
  std::chrono::milliseconds timeout_;
  std::deque<std::shared_ptr<NcclFlight>> flights_;
};

}  // namespace triptych::parallel
