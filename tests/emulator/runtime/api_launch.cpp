#include <algorithm>
#include <string>

#include "emulator/runtime/api.h"
#include "emulator/runtime/kernel_work.h"
#include "emulator/runtime/registry.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

std::string triple(const dim3& is) {
  return std::to_string(is.x) + " x " + std::to_string(is.y) + " x " + std::to_string(is.z);
}

/// What the program has opted into, or else what is left of 48 KiB.
std::size_t max_dynamic_shared_bytes(const RegisteredKernel& registered, const Registry::Prepared& prepared) {
  constexpr std::size_t kWithoutOptIn = 48 << 10;
  return registered.max_dynamic_shared_bytes.value_or(kWithoutOptIn -
                                                      std::min(kWithoutOptIn, prepared.kernel->static_shared_bytes));
}

/// A device refuses these at the call, with an error that a program easily overlooks: they are never what it meant.
void check_limits(const Registry::Prepared& prepared, const RegisteredKernel& registered, const dim3& grid,
                  const dim3& block, std::size_t shared_bytes, int target) {
  const std::string name = "kernel " + readable_kernel_name(registered.name);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
    report("launch-limit",
           name + " is launched with a grid of " + triple(grid) + " blocks of " + triple(block) +
               " threads: every number must be at least 1. Launch nothing where there is nothing to do.");
  if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    report("launch-limit", name + " is launched with a grid of " + triple(grid) +
                               " blocks: at most 2147483647 x 65535 x 65535 are possible.");
  const uint64_t num_threads = uint64_t{block.x} * block.y * block.z;
  const auto max_threads = static_cast<uint64_t>(prepared.kernel->max_threads);
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || num_threads > max_threads)
    report("launch-limit", name + " is launched with blocks of " + triple(block) + " threads: at most " +
                               std::to_string(max_threads) + " in all (and 64 in z) are possible for this kernel.");
  const std::size_t registers = static_cast<std::size_t>(prepared.registers_per_thread) * num_threads;
  const DeviceLimits& limits = device_limits(target);
  if (registers > static_cast<std::size_t>(limits.registers_per_multiprocessor))
    report("launch-limit", name + " needs " + std::to_string(prepared.registers_per_thread) + " registers in each of " +
                               std::to_string(num_threads) + " threads: a multiprocessor has " +
                               std::to_string(limits.registers_per_multiprocessor) + ". Give it __launch_bounds__.");
  const std::size_t allowed = max_dynamic_shared_bytes(registered, prepared);
  if (shared_bytes > allowed)
    report("launch-limit", name + " is launched with " + std::to_string(shared_bytes) +
                               " bytes of dynamic shared memory: " + std::to_string(allowed) + " are allowed, beside " +
                               std::to_string(prepared.kernel->static_shared_bytes) +
                               " of static. Raise cudaFuncAttributeMaxDynamicSharedMemorySize before the launch.");
}

struct Function {
  RegisteredKernel* registered = nullptr;
  Registry::Prepared prepared;
};

cudaError_t find_function(Runtime& runtime, const void* stub, Function& function) {
  function.registered = registry().find(stub);
  if (!function.registered) return cudaErrorInvalidDeviceFunction;
  function.prepared = registry().prepare(*function.registered, runtime.options().target);
  return function.prepared.kernel ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}

std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

/// By the rules of the CUDA occupancy calculator: warps, shared memory with what the driver reserves, and registers,
/// which are given to a warp in units of 256.
int blocks_per_multiprocessor(const Function& function, int block_size, std::size_t dynamic_shared_bytes, int target) {
  const DeviceLimits& limits = device_limits(target);
  const int num_warps = (block_size + 31) / 32;
  int result = std::min(limits.max_blocks_per_multiprocessor, limits.max_threads_per_multiprocessor / (num_warps * 32));
  const std::size_t shared = round_up(
      function.prepared.kernel->static_shared_bytes + dynamic_shared_bytes + limits.shared_reserved_per_block, 128);
  result = std::min(result, static_cast<int>(limits.shared_per_multiprocessor / shared));
  if (function.prepared.registers_per_thread > 0) {
    const auto per_warp =
        static_cast<int>(round_up(static_cast<std::size_t>(function.prepared.registers_per_thread) * 32, 256));
    result = std::min(result, limits.registers_per_multiprocessor / per_warp / num_warps);
  }
  return result;
}

}  // namespace

extern "C" {

cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    Function function;
    if (const cudaError_t error = find_function(runtime, stub, function); error != cudaSuccess) return error;
    check_limits(function.prepared, *function.registered, grid, block, shared_bytes, runtime.options().target);
    if (runtime.is_first_launch(function.registered) && runtime.options().loads_lazily)
      runtime.queues().finish_device(info->device);
    Launch launch;
    launch.grid = {grid.x, grid.y, grid.z};
    launch.block = {block.x, block.y, block.z};
    launch.dynamic_shared_bytes = shared_bytes;
    launch.max_dynamic_shared_bytes = max_dynamic_shared_bytes(*function.registered, function.prepared);
    launch.seed = runtime.options().streams.seed * 0x9e3779b97f4a7c15 + runtime.next_launch_number();
    runtime.queues().enqueue(info->number,
                             std::make_unique<KernelWork>(function.prepared.module, *function.prepared.kernel, launch,
                                                          arguments, runtime.heap(info->device).memory()));
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void* stub, cudaFuncAttribute attribute, int value) {
  return api([&](Runtime& runtime) {
    Function function;
    if (const cudaError_t error = find_function(runtime, stub, function); error != cudaSuccess) return error;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;  // a hint
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
      report("unsupported", "cudaFuncSetAttribute of attribute " + std::to_string(attribute) + ".");
    const std::size_t most = device_limits(runtime.options().target).shared_per_block_optin;
    if (value < 0 || function.prepared.kernel->static_shared_bytes + static_cast<std::size_t>(value) > most)
      return cudaErrorInvalidValue;
    function.registered->max_dynamic_shared_bytes = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* stub) {
  return api([&](Runtime& runtime) {
    Function function;
    if (!attributes) return cudaErrorInvalidValue;
    if (const cudaError_t error = find_function(runtime, stub, function); error != cudaSuccess) return error;
    *attributes = cudaFuncAttributes{};
    attributes->sharedSizeBytes = function.prepared.kernel->static_shared_bytes;
    attributes->maxThreadsPerBlock = function.prepared.kernel->max_threads;
    attributes->numRegs = function.prepared.registers_per_thread;
    attributes->ptxVersion = function.prepared.module->target();
    attributes->binaryVersion = runtime.options().target;
    attributes->maxDynamicSharedSizeBytes =
        static_cast<int>(max_dynamic_shared_bytes(*function.registered, function.prepared));
    attributes->preferredShmemCarveout = -1;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetName(const char** name, const void* stub) {
  return api([&](Runtime&) {
    const RegisteredKernel* const kernel = registry().find(stub);
    if (!name || !kernel) return cudaErrorInvalidValue;
    *name = kernel->name.c_str();
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* num_blocks, const void* stub, int block_size,
                                                          std::size_t dynamic_shared_bytes) {
  return api([&](Runtime& runtime) {
    Function function;
    if (!num_blocks || block_size < 1 || block_size > 1024) return cudaErrorInvalidValue;
    if (const cudaError_t error = find_function(runtime, stub, function); error != cudaSuccess) return error;
    *num_blocks = blocks_per_multiprocessor(function, block_size, dynamic_shared_bytes, runtime.options().target);
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* num_blocks, const void* stub, int block_size,
                                                                   std::size_t dynamic_shared_bytes, unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(num_blocks, stub, block_size, dynamic_shared_bytes);
}

}  // extern "C"
