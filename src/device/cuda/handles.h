#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

#include "base/rooms.h"

namespace triptych::device {

/// Throws WorldError that names the call and CUDA's own text unless it succeeded.
void check_cuda(cudaError_t code, std::string_view call);
/// check_cuda(cudaSomething(...)), naming the call as it is written.
#define TRIPTYCH_CUDA(call) ::triptych::device::check_cuda((call), #call)

/// A stream of the GPU that the thread is bound to. It never waits for the legacy default stream, nor that for it.
class CudaStream {
 public:
  enum class Priority { kNormal, kHigh };
  explicit CudaStream(Priority priority = Priority::kNormal);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Events that are used again and again, so that a steady step creates none. Thread-safe.
class EventList {
 public:
  EventList() = default;
  ~EventList();
  EventList(const EventList&) = delete;
  EventList& operator=(const EventList&) = delete;

 private:
  friend class CudaEvent;
  cudaEvent_t take();
  void give_back(cudaEvent_t event) noexcept;

  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
  std::size_t num_created_ = 0;
};

/// An event without timing, lent by a list and given back on destruction. It may be given back while a stream still has
/// to wait for it: a wait is for the record that was the last when it was queued.
class CudaEvent {
 public:
  CudaEvent() = default;
  /// Marks the point after all that is queued on `stream` now.
  CudaEvent(std::shared_ptr<EventList> list, cudaStream_t stream);
  CudaEvent(CudaEvent&& other) noexcept : list_(std::move(other.list_)), event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(list_, other.list_);
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent();

  /// True once the point is reached. Never blocks.
  bool done() const;
  /// Blocks the host until the point is reached; no watch is called.
  void synchronize() const;
  /// What is queued on `stream` from now on starts after the point.
  void block(cudaStream_t stream) const;

 private:
  std::shared_ptr<EventList> list_;
  cudaEvent_t event_ = nullptr;
};

/// What is called again and again while the host waits for the GPU. A communicator whose peer has died leaves its
/// stream waiting for ever, and with it everything behind: the watch finds that, ends it and throws.
class HostWatches {
 public:
  void add(const void* owner, std::function<void()> watch) { watches_.emplace_back(owner, std::move(watch)); }
  void remove(const void* owner) {
    std::erase_if(watches_, [owner](const auto& one) { return one.first == owner; });
  }
  bool empty() const { return watches_.empty(); }
  void poll() const {
    for (const auto& [owner, watch] : watches_) watch();
  }

 private:
  std::vector<std::pair<const void*, std::function<void()>>> watches_;
};

/// Blocks the host until the point is reached or a watch throws.
void wait_on_host(const CudaEvent& event, const HostWatches& watches);

/// Pauses of a thread that polls: at first it only gives its core away, then it sleeps, longer and longer.
class Naps {
 public:
  void next();

 private:
  int num_naps_ = 0;
};

}  // namespace triptych::device
