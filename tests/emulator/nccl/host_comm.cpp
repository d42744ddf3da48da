#include "emulator/nccl/host_comm.h"

#include <chrono>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "emulator/runtime/handles.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kCommHandles = 0xcc110000;

Handles<ncclComm_t, std::shared_ptr<HostComm>>& handles() {
  // Never destroyed: destructors of the program's own statics may still call NCCL.
  static auto& instance = *std::make_unique<Handles<ncclComm_t, std::shared_ptr<HostComm>>>(kCommHandles).release();
  return instance;
}

}  // namespace

ncclResult_t HostComm::poll() {
  if (error_ != ncclSuccess) return error_;
  // First, since a peer may have given up because of the same error.
  if (background_ && background_()) background_ = nullptr;
  if (error_ != ncclSuccess) return error_;
  const std::string lost = comm_->lost_peer();
  if (!lost.empty()) {
    background_ = nullptr;
    return error_ = refuse(ncclRemoteError, fmt::format("{}: {}", comm_->where(), lost));
  }
  return background_ ? ncclInProgress : ncclSuccess;
}

ncclResult_t HostComm::ensure_ready(const char* call) {
  if (error_ != ncclSuccess) return error_;
  if (finalized) return refuse(ncclInvalidUsage, fmt::format("{} on {}, which was finalized", call, comm_->where()));
  if (!background_) return ncclSuccess;
  return refuse(ncclInvalidArgument,
                fmt::format("{} on {} before the call before it has succeeded: ask ncclCommGetAsyncError until it no "
                            "longer says ncclInProgress",
                            call, comm_->where()));
}

ncclResult_t HostComm::join() {
  return begin([this] {
    if (!comm_->all_joined()) return false;
    const std::string duplicate = comm_->duplicate_gpu();
    if (!duplicate.empty()) {
      error_ = refuse(ncclInvalidUsage, fmt::format("{}: {}", comm_->where(), duplicate));
    }
    return true;
  });
}

ncclResult_t HostComm::begin(Background background) {
  background_ = std::move(background);
  if (!blocking()) return background_() ? (background_ = nullptr, error_) : ncclInProgress;
  for (;;) {
    const ncclResult_t code = poll();
    if (code != ncclInProgress) return code;
    std::this_thread::sleep_for(100us);
  }
}

void HostComm::abort() {
  background_ = nullptr;
  comm_->abort();
}

std::string& last_nccl_error() {
  static thread_local std::string text;
  return text;
}

ncclResult_t refuse(ncclResult_t code, const std::string& text) {
  last_nccl_error() = text;
  return code;
}

ncclComm_t add_comm(std::shared_ptr<HostComm> comm) {
  return handles().add(std::move(comm));
}

std::shared_ptr<HostComm> find_comm(ncclComm_t handle, const char* call) {
  const std::optional<std::shared_ptr<HostComm>> found = handles().find(handle);
  if (!found) {
    report("bad-argument",
           fmt::format("{} with a communicator that does not exist, or that was destroyed or aborted.", call));
  }
  return *found;
}

void remove_comm(ncclComm_t handle) {
  handles().remove(handle);
}

}  // namespace triptych::emulator
