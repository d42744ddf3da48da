#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

namespace triptych::emulator {

/// Bytes that a piece of work touches: device memory, or page-locked host memory.
struct Access {
  uint64_t begin = 0, end = 0;
  bool writes = false;
};

/// One thing on a stream: a kernel, a copy, a matrix product, a collective.
class Work {
 public:
  virtual ~Work() = default;
  /// For diagnoses: "kernel layer_norm_forward", "ncclAllReduce(float32 x 12) on communicator tp".
  virtual std::string name() const = 0;
  /// Does it, in the thread that calls. False if it has to wait for another process; it is then called again.
  virtual bool advance() = 0;
  /// Whether it waits for a process that will never do its part.
  virtual bool waits_in_vain() const { return false; }
  /// What it touched; asked for once it is done.
  virtual std::vector<Access> accesses() const = 0;
  /// Whether it may be tried again after it has read memory that was not written yet: then work that is not ordered
  /// before it is run first, to tell a missing order (`stream-race`) from memory that nobody writes
  /// (`uninitialised-read`).
  virtual bool can_run_again() const { return false; }
};

/// Puts work on a stream. When it runs depends on the mode (stream_queue.h): by default not before a synchronisation,
/// transitively, asks for it.
void enqueue(cudaStream_t stream, std::unique_ptr<Work> work);

}  // namespace triptych::emulator
