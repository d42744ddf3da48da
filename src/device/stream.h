#pragma once

#include <cstddef>
#include <memory>
#include <typeindex>
#include <unordered_map>

#include "base/rooms.h"

namespace triptych::device {

class MemoryPool;

/// Where kernels run, in order. On the CPU a kernel runs to its end before the call returns, on `num_threads()` threads
/// of the rank's pool; under CUDA it is queued. A stream is owned by its Device and passed by reference; one thread at
/// a time uses it.
class Stream {
 public:
  /// native   the backend's handle, not owned: a cudaStream_t; null on the CPU
  /// pool     where the memory of kernels comes from, outlives this; null on the CPU, where it is the host's
  explicit Stream(int num_threads, void* native = nullptr, MemoryPool* pool = nullptr);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int num_threads() const { return num_threads_; }
  void* native() const { return native_; }
  MemoryPool* pool() const { return pool_; }

  /// Scratch device memory for one kernel call: at least `bytes`, aligned to 256 under CUDA and 64 on the CPU, grown
  /// and kept; the next call of `scratch` on this stream ends its use.
  std::byte* scratch(std::size_t bytes);

  /// What a kernel family keeps from call to call (library handles, cached primitives): made at the first use, owned by
  /// the stream.
  template <typename T>
  T& state() {
    std::shared_ptr<void>& slot = states_[std::type_index(typeid(T))];
    if (!slot) slot = std::make_shared<T>();
    return *static_cast<T*>(slot.get());
  }

 private:
  int num_threads_;
  void* native_;
  MemoryPool* pool_;
  std::byte* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  std::unordered_map<std::type_index, std::shared_ptr<void>> states_;
};

}  // namespace triptych::device
