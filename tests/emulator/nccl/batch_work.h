#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "emulator/nccl/comm.h"
#include "emulator/nccl/deadlock.h"
#include "emulator/nccl/runs.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// The calls of one group on one communicator, or a call alone, which is a group of its own: what NCCL launches as one
/// kernel. Its messages move side by side; the collectives one after the other. All batches of a communicator run in
/// the order in which they were called, whatever their streams.
///
/// Reports `nccl-timeout` where a rank does not come, and `nccl-deadlock` where ranks wait for each other. Where a peer
/// has died it waits, as a kernel would, until the communicator is aborted or the time is over.
class BatchWork : public Work {
 public:
  BatchWork(std::shared_ptr<Comm> comm, DeviceMemory& memory, const std::vector<Call>& calls);
  std::string name() const override { return name_; }
  bool advance() override;
  bool waits_in_vain() const override { return comm_->peer_is_gone(); }
  std::vector<Access> accesses() const override;

 private:
  using Clock = std::chrono::steady_clock;
  bool advance_runs();
  bool done() const;
  void watch(bool moved);

  std::shared_ptr<Comm> comm_;
  std::string name_;
  uint64_t number_;
  std::vector<Call> calls_;
  std::vector<std::unique_ptr<CollectiveRun>> collectives_;
  std::vector<std::unique_ptr<MessageRun>> messages_;
  DeadlockWatch deadlock_;
  bool begun_ = false, aborted_ = false;
  Clock::time_point last_move_, next_look_;
};

}  // namespace triptych::emulator
