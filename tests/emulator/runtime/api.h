#pragma once

#include <utility>

#include <cuda_runtime_api.h>

#include "emulator/runtime/runtime.h"

namespace triptych::emulator {

/// The calling thread's last error, as cudaGetLastError knows it.
cudaError_t& last_error();

/// cudaSuccess, or why no call can work: there is no device, or a host function on a stream calls CUDA.
cudaError_t entry_error();

/// True in the thread that runs a cudaLaunchHostFunc function, which must not call CUDA.
bool& inside_host_function();

/// The frame of every function that needs a device: `body(runtime)` gives the error.
template <typename Body>
cudaError_t api(Body&& body) {
  cudaError_t error = entry_error();
  if (error == cudaSuccess) error = std::forward<Body>(body)(runtime());
  if (error != cudaSuccess) last_error() = error;
  return error;
}

/// What cudaDeviceGetAttribute, the launch checks and the occupancy agree on.
struct DeviceLimits {
  int multiprocessors, max_blocks_per_multiprocessor, max_threads_per_multiprocessor;
  std::size_t shared_per_block, shared_per_block_optin, shared_per_multiprocessor, shared_reserved_per_block;
  int registers_per_multiprocessor;
};
const DeviceLimits& device_limits(int target);

}  // namespace triptych::emulator
