#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <nccl.h>

#include "emulator/nccl/host_comm.h"

namespace triptych::emulator {

/// ncclCommSplit in the background: the ranks tell each other their colors, and those of one color join a communicator.
/// As with NCCL the new handle is written only when all of them have.
class Split {
 public:
  Split(std::shared_ptr<Comm> parent, int color, int key, bool blocking, std::string name, ncclComm_t* target);
  /// True when it is done.
  bool advance();

 private:
  bool tell();
  void join();
  void check_time() const;

  std::shared_ptr<Comm> parent_;
  int color_, key_;
  bool blocking_;
  std::string name_;
  ncclComm_t* target_;
  uint64_t number_;
  std::chrono::steady_clock::time_point begin_;
  bool told_ = false, joined_ = false;
  std::shared_ptr<HostComm> child_;
};

}  // namespace triptych::emulator
