#pragma once

#include <functional>
#include <memory>
#include <string>

#include <nccl.h>

#include "emulator/nccl/comm.h"

namespace triptych::emulator {

/// A communicator as the host's calls know it: what is going on in the background, and what went wrong. Used by one
/// thread at a time, as NCCL asks.
class HostComm {
 public:
  /// `advance` moves something on in the background and is true when it is done; it never blocks.
  using Background = std::function<bool()>;

  explicit HostComm(const Comm::Identity& identity) : comm_(std::make_shared<Comm>(identity)) {}

  const std::shared_ptr<Comm>& comm() const { return comm_; }
  bool blocking() const { return comm_->identity().blocking; }
  bool finalized = false;

  /// What ncclCommGetAsyncError says; moves on what is in the background.
  ncclResult_t poll();
  /// Success where a call may be made now; else why not, as NCCL says it.
  ncclResult_t ensure_ready(const char* call);
  /// Waits for the other ranks to join, in the background: each must have a GPU of its own.
  ncclResult_t join();
  /// Begins something; a blocking communicator waits until it is done.
  ncclResult_t begin(Background background);
  bool in_progress() const { return background_ != nullptr; }
  /// Ends it without its being done.
  void abort();

 private:
  std::shared_ptr<Comm> comm_;
  Background background_;
  ncclResult_t error_ = ncclSuccess;
};

/// What ncclGetLastError says to this thread.
std::string& last_nccl_error();
/// Keeps the text as the last error.
ncclResult_t refuse(ncclResult_t code, const std::string& text);

/// Handles are never used again, so that one that was destroyed is recognised. Reports `bad-argument` for what is none.
ncclComm_t add_comm(std::shared_ptr<HostComm> comm);
std::shared_ptr<HostComm> find_comm(ncclComm_t handle, const char* call);
void remove_comm(ncclComm_t handle);

}  // namespace triptych::emulator
