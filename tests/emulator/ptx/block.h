#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/ptx/engine.h"
#include "emulator/ptx/fence_order.h"
#include "emulator/ptx/global_accesses.h"
#include "emulator/ptx/program.h"
#include "emulator/ptx/shared_memory.h"
#include "emulator/ptx/thread_accesses.h"
#include "emulator/ptx/warp.h"

namespace triptych::emulator::ptx {

/// What all blocks of a launch share.
struct LaunchState {
  const Program& program;
  const Launch& launch;
  DeviceMemory& memory;
  LaunchAccesses& accesses;
  std::vector<uint64_t> executions;  ///< by pc
  uint64_t bytes_loaded = 0, bytes_stored = 0, num_instructions = 0;
  uint64_t random_state = 0;
  /// The first read of global memory that nothing had written. Reported when the launch ends, unless it turns out to be
  /// a race with the block that writes it.
  std::string undefined_read;

  void report_undefined() const;
  uint64_t random();  ///< a function of the launch's seed and how often it was called
  std::string describe_line(uint32_t pc) const;
};

/// A block that is resident: its warps take turns in an order that the seed decides.
class Block {
 public:
  /// `shared` and `threads` are this block's alone while it is resident.
  Block(LaunchState& state, uint32_t linear_index, SharedMemory& shared, ThreadAccesses& threads);
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// Lets one warp run for a while. False once all have exited.
  bool turn();

  LaunchState& state() { return state_; }
  SharedMemory& shared() { return shared_; }
  BlockAccesses& accesses() { return accesses_; }
  ThreadAccesses& threads() { return threads_; }
  FenceOrder& fences() { return fences_; }
  /// A lane of `warp` executes a fence of the device.
  void fence(Warp& warp);
  const std::array<uint32_t, 3>& index() const { return index_; }
  std::array<uint32_t, 3> thread_index(int thread) const;
  int num_threads() const { return num_threads_; }
  /// Reports an undefined read of shared or global memory that has waited for a race to explain it.
  void report_undefined() const;

  /// What `bar.red` collects until the barrier opens.
  struct Reduction {
    uint32_t count = 0, threads = 0;
  };
  Reduction& reduction() { return reduction_; }
  const Reduction& last_reduction() const { return last_reduction_; }

 private:
  void open_barrier();
  void order_all();  // what all threads did before what they do from now on

  LaunchState& state_;
  std::array<uint32_t, 3> index_{};
  int num_threads_;
  SharedMemory& shared_;
  BlockAccesses accesses_;
  ThreadAccesses& threads_;
  FenceOrder fences_;
  std::vector<std::unique_ptr<Warp>> warps_;
  Reduction reduction_, last_reduction_;
};

}  // namespace triptych::emulator::ptx
