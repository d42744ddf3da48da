#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <nccl.h>

#include "base/rooms.h"
#include "parallel/peer_error.h"

namespace triptych::parallel {

/// How the host waits while NCCL sets something up.
struct SetupWait {
  std::chrono::milliseconds timeout;
  /// Called again and again: moves along what the rank has in flight elsewhere; throws where a peer has failed.
  std::function<void()> poll;
};

struct CommunicatorFailure {
  std::string text;  ///< NCCL's
  Evidence evidence = Evidence::kCause;
};

/// A communicator of NCCL that never blocks the host in a call: what takes long goes on in the background, and await()
/// polls for it, so that a peer that died is an error in time.
class Communicator {
 public:
  /// Collective over the ranks that pass the same `id`. `where` begins every error.
  Communicator(std::string where, const ncclUniqueId& id, int size, int rank, SetupWait wait);
  /// Collective over the ranks of `parent`, which must have nothing in flight: those with one color become a new
  /// communicator, in the order of their ranks there. NCCL_SPLIT_NOCOLOR: this rank takes part in none.
  Communicator(std::string where, Communicator& parent, int color, SetupWait wait);
  /// Finalizes and frees, unless it was aborted. The operations must be done.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// Null if it was aborted, or if this rank has no part in it.
  ncclComm_t get() const { return comm_; }
  /// Throws WorldError unless `code`, of a call on this communicator, is success; waits if it is still in progress.
  /// Where a peer has closed it, the error is a PeerError: an echo.
  void check(ncclResult_t code, std::string_view call);
  /// What went wrong since; none if nothing did.
  std::optional<CommunicatorFailure> failure() const;
  /// Ends what is in flight. To be called between ncclGroupStart and ncclGroupEnd for all communicators of the rank:
  /// one after the other can hang, since each waits for the whole GPU, and so for the others' kernels
  /// (NVIDIA/nccl issue 1013).
  void abort() noexcept;

 private:
  void await(ncclComm_t comm, std::string_view call);

  std::string where_;
  SetupWait wait_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace triptych::parallel
