#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace triptych::emulator {

/// What the program has asked of the device, for the step table. A kernel's bytes are counted when it has run, but
/// belong to the window in which it was launched.
struct Counts {
  struct Kernel {
    uint64_t launches = 0;
    uint64_t bytes_read = 0, bytes_written = 0;   ///< each byte of device memory once a launch
    uint64_t bytes_loaded = 0, bytes_stored = 0;  ///< as often as lanes asked for it
    uint64_t instructions = 0;                    ///< of warps
  };
  struct Calls {
    uint64_t calls = 0, bytes = 0;
  };
  struct Matmul {
    uint64_t calls = 0, flops = 0;
    uint64_t bytes_read = 0, bytes_written = 0;
  };
  std::map<std::string, Kernel> kernels;                        ///< by mangled name
  std::map<std::string, Calls> copies;                          ///< by kind: "host to device", "memset", ...
  std::map<std::string, Calls> nccl;                            ///< by collective
  std::vector<std::pair<std::string, std::string>> nccl_order;  ///< communicator and call, as the host launched them
  std::map<std::string, Calls> allocations;                     ///< by the function that was called
  Matmul matmuls;

  /// Host synchronisations. Those that drain leave the device with nothing to do; a wait for an event that newer work
  /// was queued behind does not. Polling is neither.
  uint64_t drains = 0;
  uint64_t event_waits = 0;
  /// Asynchronous copies from memory that is not page-locked: the driver may wait for the stream to stage them.
  uint64_t staged_copies = 0;
};

/// A copy of what has been counted in the window. Until cudaProfilerStart is called for the first time everything is
/// counted; then only what lies between cudaProfilerStart and cudaProfilerStop.
Counts counters();
void reset_counters();

/// For those who count: the window that is open now (0: none), and adding to it as long as it has not been reset.
uint64_t counting_window();
void count(uint64_t window, const std::function<void(Counts&)>& add);
inline void count(const std::function<void(Counts&)>& add) {
  count(counting_window(), add);
}

/// One call of a collective of a communicator, which moves `bytes` out of this rank's buffer.
void count_nccl(const std::string& communicator, const std::string& collective, uint64_t bytes);

void begin_counted_window();
void end_counted_window();

/// How often each registered kernel has run in this process, in or out of a window; with 0 for those that never did.
std::map<std::string, uint64_t> kernel_executions();
void note_registered_kernel(const std::string& name);
void note_kernel_execution(const std::string& name);

/// Where TRIPTYCH_EMULATOR_COUNTERS names a file, writes all of it there. "%r" becomes the rank.
void write_counters();

}  // namespace triptych::emulator
