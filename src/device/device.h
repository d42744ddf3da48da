#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/trace.h"
#include "device/memory_stats.h"
#include "device/stream.h"
#include "device/work_log.h"

namespace triptych::device {

struct DeviceState;

/// A piece of device memory, aligned to 64 bytes; goes back to the pool on destruction, after what was queued on the
/// compute stream before. Keeps the pool alive.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  friend class Device;
  Buffer(std::shared_ptr<MemoryPool> pool, std::byte* data, std::size_t size, MemoryPart part);
  std::shared_ptr<MemoryPool> pool_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  MemoryPart part_ = MemoryPart::kOther;
};

/// Host memory that the device copies to and from while the host goes on: page-locked under CUDA.
class HostBuffer {
 public:
  HostBuffer() = default;
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  ~HostBuffer();
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  friend class Device;
  HostBuffer(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A point in what the device has to do, reached or not. A cheap value; copies refer to the same point.
class Event {
 public:
  Event() = default;
  /// True once everything before the point is done (at once for an undefined event). Never blocks.
  bool done() const;

 private:
  friend class Device;
  friend void wait_on_host(const Event& event, const std::function<void()>& poll);
  struct State;
  std::shared_ptr<State> state_;
};

/// Where a rank computes: its memory pool and its streams. Which kind is chosen when linking: src/device/cpu or
/// src/device/cuda. Each rank has one, passed to what needs it; a rank that is a thread (tests) has its own.
///
/// Device memory is not the host's: what the host reads or writes of it goes through this class. Everything is in the
/// order of the compute stream unless it says otherwise. One thread at a time uses a device.
class Device {
 public:
  /// num_threads   for the host's share of the work (all of it on the CPU)
  /// number        which of the GPUs that the process sees, from 0 (parallel/device_choice.h); nothing on the CPU
  /// Throws UserError if num_threads < 1, or if there is no GPU of that number (there is no fall-back).
  explicit Device(int num_threads, int number = 0);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Stream& stream() { return *stream_; }
  /// "cpu" or "cuda".
  std::string_view kind() const;
  /// What it is, for people: "CPU, 2 threads", "NVIDIA H100 80GB HBM3, GPU 0 of 8".
  std::string description() const;
  /// Whether the host may read its memory in place, so that what only reads (saving) need not copy it first.
  bool host_can_read() const;

  /// Contents are undefined. 0 bytes are legal. Throws OutOfMemory that says what was asked, and what each part holds.
  Buffer allocate(std::size_t bytes, MemoryPart part = MemoryPart::kOther);
  MemoryStats memory() const;

  void copy(void* to, const void* from, std::size_t bytes);
  void zero(void* to, std::size_t bytes);
  /// `host` may be any memory, and may be reused when the call returns.
  void write(void* to, const void* host, std::size_t bytes);
  /// Waits for the device: for set-up, saving and tests, never in a step.
  void read(void* host, const void* from, std::size_t bytes);
  /// Waits for all that was queued on any of its streams.
  void synchronize();
  /// Begins or ends the part of the run that a profiler looks at (`nsys profile -c cudaProfilerApi`); nothing on the
  /// CPU.
  void profile(bool on);

  HostBuffer allocate_host(std::size_t bytes);
  /// Copies beside the compute stream: starts once `after` is reached, and does not wait for what was queued since. The
  /// host buffer must stay as it is until the event that comes back is done; before the compute stream reads `to`,
  /// make it wait for that event.
  Event upload(void* to, const HostBuffer& from, std::size_t bytes, const Event& after);
  /// Copies while the host goes on; the event says when `to` holds what `from` held.
  Event download(HostBuffer& to, const void* from, std::size_t bytes);

  /// The point after all that is queued on the compute stream now.
  Event record();
  /// What is queued on the compute stream from now on starts after `event`. The host goes on.
  void wait(const Event& event);

  /// Sees the forward of every operation on it from now on; null: nobody does. Must outlive that.
  void set_trace(Trace* trace) { trace_ = trace; }
  Trace* trace() const { return trace_; }

  /// What was asked of it, of a device that computes nothing; null of all others.
  WorkLog* work_log();

  /// The backend's own: see src/device/cuda/cuda_device.h.
  DeviceState& state() { return *state_; }

 private:
  std::unique_ptr<DeviceState> state_;
  std::shared_ptr<MemoryPool> pool_;
  std::unique_ptr<Stream> stream_;
  Trace* trace_ = nullptr;
};

/// Blocks the host until `event` is done, calling `poll` now and then: it may move communication along and throws where
/// a peer has failed.
void wait_on_host(const Event& event, const std::function<void()>& poll);

}  // namespace triptych::device
