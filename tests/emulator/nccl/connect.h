#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emulator/nccl/batch_work.h"
#include "emulator/nccl/comm.h"

namespace triptych::emulator {

/// The first collective of a communicator, and the first message in each direction between two ranks, connect them.
/// With NCCL that blocks the host (or, of a communicator that is not blocking, keeps it in progress) until all who are
/// to be connected have called, and only then is anything put on the stream.
class Connect {
 public:
  /// What `calls` need that the communicator does not have yet.
  Connect(std::shared_ptr<Comm> comm, const std::vector<Call>& calls);
  bool needed() const { return needs_collectives_ || needs_sends_to_ != 0 || needs_recvs_from_ != 0; }
  /// True when all have come. Reports `nccl-timeout`.
  bool advance();

 private:
  uint64_t missing() const;

  std::shared_ptr<Comm> comm_;
  std::string what_;
  bool needs_collectives_ = false;
  uint64_t needs_sends_to_ = 0, needs_recvs_from_ = 0;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace triptych::emulator
