#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include <cuda_runtime_api.h>

#include "emulator/runtime/access_history.h"
#include "emulator/runtime/device_heap.h"
#include "emulator/runtime/free_work.h"
#include "emulator/runtime/handles.h"
#include "emulator/runtime/host_memory.h"
#include "emulator/runtime/options.h"
#include "emulator/runtime/stream_queue.h"

namespace triptych::emulator {

struct StreamInfo {
  std::size_t number = 0;  ///< in StreamQueues
  int device = 0;
  unsigned flags = 0;
  int priority = 0;
};

struct EventInfo {
  int device = 0;
  unsigned flags = 0;
  PointPtr point;  ///< what was recorded last; null if nothing was
};

/// What the CUDA runtime of one process knows. The C functions find it by `runtime()`, since their signatures leave no
/// other way; everything below takes it as an argument. Thread-safe.
class Runtime {
 public:
  explicit Runtime(const Options& options);

  const Options& options() const { return options_; }
  StreamQueues& queues() { return *queues_; }
  AccessHistory& history() { return history_; }
  HostMemory& host_memory() { return host_memory_; }
  Handles<cudaStream_t, StreamInfo>& streams() { return streams_; }
  Handles<cudaEvent_t, EventInfo>& events() { return events_; }

  /// Made at the first use.
  DeviceHeap& heap(int device);
  /// The device that `address` belongs to; null for any other.
  DeviceHeap* heap_of(uint64_t address);

  /// Null and cudaStreamLegacy are the null stream of the thread's current device. Empty for what is no stream.
  std::optional<StreamInfo> stream(cudaStream_t handle);
  StreamInfo null_stream(int device);

  /// Gives back freed memory that nothing queued can touch any more.
  void release_freed();

  /// Memory that the host frees: everything that touches it must be known to be done.
  void free_by_host(std::unique_ptr<FreeWork> work);

  uint64_t next_launch_number();
  /// Notes that a kernel is launched; true the first time.
  bool is_first_launch(const void* kernel);

 private:
  void check(const PointPtr& point, const Work& work);
  [[noreturn]] void report_conflict(const Point& point, const AccessHistory::Conflict& conflict);
  std::string describe(const Access& access);

  const Options options_;
  AccessHistory history_;
  HostMemory host_memory_;
  FreedMemory freed_;
  Handles<cudaStream_t, StreamInfo> streams_;
  Handles<cudaEvent_t, EventInfo> events_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<DeviceHeap>> heaps_;
  std::vector<std::optional<StreamInfo>> null_streams_;
  std::size_t host_frees_ = 0;  // a stream on which only the host's frees are
  uint64_t num_launches_ = 0;
  std::set<const void*> launched_;
  std::unique_ptr<StreamQueues> queues_;  // last: its thread uses the others
};

/// Made from the environment at the first use.
Runtime& runtime();
/// For tests of the emulator itself: a machine as if the process had just started. Nothing of the old one may be in
/// use.
void restart(const Options& options);

/// The device that the calling thread has chosen with cudaSetDevice.
int& current_device();

/// The memory that work on a stream computes in.
DeviceMemory& memory_of(cudaStream_t stream);

}  // namespace triptych::emulator
