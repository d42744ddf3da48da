#include "parallel/nccl/communicator.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "device/cuda/handles.h"
#include "parallel/nccl/nccl_calls.h"

namespace triptych::parallel {
namespace {

using Clock = std::chrono::steady_clock;

// A rank whose peers end well waits for them to free a communicator together, but not for long: some may have died.
constexpr std::chrono::milliseconds kLongestFarewell{10'000};

ncclConfig_t configuration(const std::string& name) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = name.c_str();  // for NCCL's log; the Communicator keeps the text
  config.splitShare = 0;           // communicators that share resources would do their operations one after the other
  return config;
}

// "A remote process exited or there was a network error" is all that it says of a peer that gave up.
Evidence evidence_of(ncclResult_t code) {
  return code == ncclRemoteError ? Evidence::kEcho : Evidence::kCause;
}

}  // namespace

Communicator::Communicator(std::string where, const ncclUniqueId& id, int size, int rank, SetupWait wait)
    : where_(std::move(where)), wait_(std::move(wait)) {
  ncclConfig_t config = configuration(where_);
  try {
    check(ncclCommInitRankConfig(&comm_, size, id, rank, &config), "ncclCommInitRankConfig");
  } catch (...) {
    abort();
    throw;
  }
}

Communicator::Communicator(std::string where, Communicator& parent, int color, SetupWait wait)
    : where_(std::move(where)), wait_(std::move(wait)) {
  ncclConfig_t config = configuration(where_);
  int rank = 0;
  parent.check(ncclCommUserRank(parent.comm_, &rank), "ncclCommUserRank");
  // The parent tells how it goes; the new handle is written in the background, and only when it is made.
  parent.check(ncclCommSplit(parent.comm_, color, rank, &comm_, &config), "ncclCommSplit");
  if (color == NCCL_SPLIT_NOCOLOR) return;
  try {
    const Clock::time_point begin = Clock::now();
    for (Naps naps; __atomic_load_n(&comm_, __ATOMIC_ACQUIRE) == nullptr; naps.next()) {
      if (Clock::now() - begin < wait_.timeout) continue;
      throw WorldError(where_, "ncclCommSplit has made no communicator. Look at what the other ranks printed last");
    }
    await(comm_, "ncclCommSplit");
  } catch (...) {
    abort();
    throw;
  }
}

Communicator::~Communicator() {
  if (comm_ == nullptr) return;
  try {
    wait_.timeout = std::min(wait_.timeout, kLongestFarewell);
    check(ncclCommFinalize(comm_), "ncclCommFinalize");
    static_cast<void>(ncclCommDestroy(comm_));  // cannot fail once it is finalized
  } catch (const Error&) {                      // a peer is gone; nothing of this rank's is lost
    abort();
  }
}

void Communicator::check(ncclResult_t code, std::string_view call) {
  if (code == ncclSuccess) return;
  if (code == ncclInProgress) return await(comm_, call);
  const std::string message =
      fmt::format("{} must succeed: {}. Look at what the other ranks printed", call, nccl_text(code, comm_));
  if (evidence_of(code) == Evidence::kCause) throw WorldError(where_, message);
  throw PeerError(where_, message, fmt::format("{} in {}", call, where_), Evidence::kEcho);
}

void Communicator::await(ncclComm_t comm, std::string_view call) {
  const Clock::time_point begin = Clock::now();
  for (Naps naps;; naps.next()) {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t code = ncclCommGetAsyncError(comm, &state);
    if (code != ncclSuccess) state = code;
    if (state == ncclSuccess) return;
    if (state != ncclInProgress) return check(state, call);
    if (Clock::now() - begin >= wait_.timeout) {
      throw WorldError(where_, fmt::format("all ranks must come to {} within {} s: waited as long; NCCL does not say "
                                           "which is missing. Look at what the other ranks printed last",
                                           call, std::chrono::duration<double>(wait_.timeout).count()));
    }
    wait_.poll();
  }
}

std::optional<CommunicatorFailure> Communicator::failure() const {
  if (comm_ == nullptr) return std::nullopt;
  ncclResult_t state = ncclSuccess;
  const ncclResult_t code = ncclCommGetAsyncError(comm_, &state);
  if (code != ncclSuccess) state = code;
  if (state == ncclSuccess || state == ncclInProgress) return std::nullopt;
  return CommunicatorFailure{.text = nccl_text(state, comm_), .evidence = evidence_of(state)};
}

void Communicator::abort() noexcept {
  if (comm_ != nullptr) static_cast<void>(ncclCommAbort(std::exchange(comm_, nullptr)));
}

}  // namespace triptych::parallel
