#pragma once

#include <cstdint>
#include <vector>

#include "emulator/nccl/comm.h"

namespace triptych::emulator {

/// Finds ranks that wait for each other in a ring, in one communicator. Blocked work asks again and again: a ring in
/// which every rank has looked twice since it was first seen, and in which nothing has moved, never will.
class DeadlockWatch {
 public:
  explicit DeadlockWatch(const Comm& comm) : comm_(comm) {}
  /// The ranks of such a ring that this one is in, each waiting for the next and the last for the first; or none.
  std::vector<int> look();

 private:
  struct Seen {
    uint64_t moves = 0, polls = 0;
  };
  std::vector<int> find_ring() const;

  const Comm& comm_;
  std::vector<int> ring_;
  std::vector<Seen> seen_;  // of the ring's ranks
};

}  // namespace triptych::emulator
