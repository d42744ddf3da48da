#pragma once

#include <cstddef>
#include <typeinfo>

#include "base/rooms.h"

// Few headers: every kernel's source includes this one, and nvcc reads it anew for each architecture.

namespace triptych::device {

class MemoryPool;
class StreamStates;

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
    return *static_cast<T*>(state_of(
        typeid(T), []() -> void* { return new T(); }, [](void* kept) { delete static_cast<T*>(kept); }));
  }

 private:
  void* state_of(const std::type_info& type, void* (*make)(), void (*destroy)(void*));

  int num_threads_;
  void* native_;
  MemoryPool* pool_;
  std::byte* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  StreamStates* const states_;  // owned
};

}  // namespace triptych::device
