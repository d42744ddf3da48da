#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <nccl.h>

#include "emulator/nccl/segment.h"
#include "emulator/nccl/shared_layout.h"

namespace triptych::emulator {

/// How long a call or blocked work waits for a rank that does not come: TRIPTYCH_EMULATOR_NCCL_TIMEOUT_S, or 60 s.
std::chrono::duration<double> nccl_timeout();

/// A communicator as one of its ranks sees it. The host's calls and the work on the streams use it, from two threads.
class Comm {
 public:
  struct Identity {
    std::string segment;  ///< the same on all ranks, and of no other communicator
    std::string name;     ///< for diagnoses
    int size = 0, rank = 0;
    int device = 0;          ///< as the process counts
    int machine_device = 0;  ///< as the machine does
    bool blocking = true;
  };
  /// Joins; whether the others have is asked with all_joined().
  explicit Comm(const Identity& identity);
  ~Comm();

  const Identity& identity() const { return identity_; }
  int size() const { return identity_.size; }
  int rank() const { return identity_.rank; }
  RankState& state(int rank) const { return ranks_[rank]; }
  RankState& own() const { return ranks_[identity_.rank]; }
  PairState& pair(int from, int to) const { return pairs_[from * identity_.size + to]; }
  /// "rank 1 (process 4711)".
  std::string rank_text(int rank) const;
  /// "communicator tp".
  std::string where() const { return "communicator " + identity_.name; }

  /// True once all ranks have joined; the name of the shared memory is gone then. Reports `nccl-timeout`.
  bool all_joined();

  /// Two ranks of one GPU, in NCCL's words, once all have joined; empty if each has its own. Shared memory is of one
  /// machine, so equal devices are one GPU.
  std::string duplicate_gpu() const;

  /// Numbers for the calls of this rank, in the order in which they were made.
  uint64_t next_batch() { return num_batches_++; }
  uint64_t next_collective() { return num_collectives_++; }
  uint64_t next_sent(int peer) { return num_sent_[static_cast<std::size_t>(peer)]++; }
  uint64_t next_received(int peer) { return num_received_[static_cast<std::size_t>(peer)]++; }
  uint64_t next_split() { return num_splits_++; }
  /// How many batches have been made and are done: a batch runs only when all before it are.
  std::atomic<uint64_t> num_done{0};
  bool idle() const { return num_done.load() == num_batches_; }
  /// Steps of collectives that were begun. Work's own.
  uint64_t num_steps = 0;

  /// A peer that has died or aborted, in words; empty if none has. Looks at most every 20 ms.
  std::string lost_peer();
  /// Whether a peer will do nothing any more: it has freed the communicator, aborted or died.
  bool peer_is_gone();
  bool aborted() const { return own().aborted.load() != 0; }
  void abort();
  void leave() { own().left.store(1); }

  /// What this rank does now, for the diagnoses of the others.
  void set_doing(const std::string& text);
  std::string doing(int rank) const;
  /// "rank 2 (process 4711), which is in ncclSend(...)", for each rank of the mask.
  std::string describe_ranks(uint64_t mask) const;

 private:
  Identity identity_;
  std::unique_ptr<Segment> segment_;
  SharedHeader* header_ = nullptr;
  RankState* ranks_ = nullptr;
  PairState* pairs_ = nullptr;
  std::chrono::steady_clock::time_point joined_at_;
  uint64_t num_batches_ = 0, num_collectives_ = 0, num_splits_ = 0;
  std::vector<uint64_t> num_sent_, num_received_;  // by peer
  std::mutex lost_mutex_;
  std::chrono::steady_clock::time_point next_look_;
  std::string lost_;
};

}  // namespace triptych::emulator
