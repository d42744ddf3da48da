#include <cstring>
#include <string>

#include <cuda_profiler_api.h>

#include "emulator/runtime/api.h"
#include "emulator/runtime/counters.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace triptych::emulator {
namespace {

// From the tables of the CUDA programming guide for compute capability 8.0 (A100), 8.6 (A40) and 9.0 (H100 SXM).
constexpr DeviceLimits kLimits80{108, 32, 2048, 48 << 10, 163 << 10, 164 << 10, 1 << 10, 65536};
constexpr DeviceLimits kLimits86{84, 16, 1536, 48 << 10, 99 << 10, 100 << 10, 1 << 10, 65536};
constexpr DeviceLimits kLimits90{132, 32, 2048, 48 << 10, 227 << 10, 228 << 10, 1 << 10, 65536};

bool is_device(Runtime& runtime, int device) {
  return device >= 0 && device < runtime.options().num_devices;
}

int l2_bytes(int target) {
  return (target == 80 ? 40 : target == 86 ? 6 : 50) << 20;
}

std::string device_name(int target) {
  return "PTX emulator (sm_" + std::to_string(target) + ")";
}

cudaError_t get_attribute(Runtime& runtime, cudaDeviceAttr attribute, int device, int& value) {
  const int target = runtime.options().target;
  const DeviceLimits& limits = device_limits(target);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      value = 1024;
      break;
    case cudaDevAttrMaxBlockDimZ:
      value = 64;
      break;
    case cudaDevAttrMaxGridDimX:
      value = 0x7fffffff;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      value = 65535;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      value = static_cast<int>(limits.shared_per_block);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      value = static_cast<int>(limits.shared_per_block_optin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      value = static_cast<int>(limits.shared_per_multiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      value = static_cast<int>(limits.shared_reserved_per_block);
      break;
    case cudaDevAttrWarpSize:
      value = 32;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      value = limits.registers_per_multiprocessor;
      break;
    case cudaDevAttrMultiProcessorCount:
      value = limits.multiprocessors;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      value = limits.max_threads_per_multiprocessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      value = limits.max_blocks_per_multiprocessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      value = target / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      value = target % 10;
      break;
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrGpuOverlap:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrHostRegisterSupported:
      value = 1;
      break;
    case cudaDevAttrAsyncEngineCount:
      value = 3;
      break;
    case cudaDevAttrL2CacheSize:
      value = l2_bytes(target);
      break;
    case cudaDevAttrPciBusId:
      value = runtime.options().machine_device(device) + 1;
      break;
    case cudaDevAttrPciDomainId:
    case cudaDevAttrPciDeviceId:
    case cudaDevAttrIntegrated:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrComputeMode:
    case cudaDevAttrKernelExecTimeout:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrClusterLaunch:
    case cudaDevAttrGPUDirectRDMASupported:
      value = 0;
      break;
    default:
      report("unsupported", "cudaDeviceGetAttribute of attribute " + std::to_string(attribute) + ".");
  }
  return cudaSuccess;
}

cudaDeviceProp make_properties(Runtime& runtime, int device) {
  const int target = runtime.options().target;
  const DeviceLimits& limits = device_limits(target);
  cudaDeviceProp properties{};
  std::strncpy(properties.name, device_name(target).c_str(), sizeof properties.name - 1);
  const int machine_device = runtime.options().machine_device(device);
  properties.uuid.bytes[0] = static_cast<char>(machine_device + 1);
  properties.totalGlobalMem = runtime.options().memory_bytes;
  properties.sharedMemPerBlock = limits.shared_per_block;
  properties.sharedMemPerBlockOptin = limits.shared_per_block_optin;
  properties.sharedMemPerMultiprocessor = limits.shared_per_multiprocessor;
  properties.reservedSharedMemPerBlock = limits.shared_reserved_per_block;
  properties.regsPerBlock = properties.regsPerMultiprocessor = limits.registers_per_multiprocessor;
  properties.warpSize = 32;
  properties.maxThreadsPerBlock = 1024;
  properties.maxThreadsDim[0] = properties.maxThreadsDim[1] = 1024;
  properties.maxThreadsDim[2] = 64;
  properties.maxGridSize[0] = 0x7fffffff;
  properties.maxGridSize[1] = properties.maxGridSize[2] = 65535;
  properties.major = target / 10;
  properties.minor = target % 10;
  properties.multiProcessorCount = limits.multiprocessors;
  properties.maxThreadsPerMultiProcessor = limits.max_threads_per_multiprocessor;
  properties.maxBlocksPerMultiProcessor = limits.max_blocks_per_multiprocessor;
  properties.l2CacheSize = l2_bytes(target);
  properties.concurrentKernels = properties.unifiedAddressing = properties.memoryPoolsSupported = 1;
  properties.streamPrioritiesSupported = properties.hostRegisterSupported = 1;
  properties.asyncEngineCount = 3;
  properties.pciBusID = machine_device + 1;
  return properties;
}

}  // namespace

const DeviceLimits& device_limits(int target) {
  return target == 80 ? kLimits80 : target == 86 ? kLimits86 : kLimits90;
}

}  // namespace triptych::emulator

extern "C" {

// Without a driver the count stays as it was, as with the real runtime.
cudaError_t cudaGetDeviceCount(int* count) {
  return api([&](Runtime& runtime) {
    if (!count) return cudaErrorInvalidValue;
    *count = runtime.options().num_devices;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return api([&](Runtime& runtime) {
    if (!is_device(runtime, device)) return cudaErrorInvalidDevice;
    current_device() = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return api([&](Runtime&) {
    if (!device) return cudaErrorInvalidValue;
    *device = current_device();
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return api([&](Runtime& runtime) {
    if (!properties) return cudaErrorInvalidValue;
    if (!is_device(runtime, device)) return cudaErrorInvalidDevice;
    *properties = make_properties(runtime, device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return api([&](Runtime& runtime) {
    if (!value) return cudaErrorInvalidValue;
    if (!is_device(runtime, device)) return cudaErrorInvalidDevice;
    return get_attribute(runtime, attribute, device, *value);
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  return api([&](Runtime& runtime) {
    if (!text || length < 13) return cudaErrorInvalidValue;
    if (!is_device(runtime, device)) return cudaErrorInvalidDevice;
    std::snprintf(text, static_cast<std::size_t>(length), "0000:%02x:00.0",
                  runtime.options().machine_device(device) + 1);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return api([&](Runtime&) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return cudaSuccess;
  });
}

// The emulated devices share nothing: a copy between them goes through the host.
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return api([&](Runtime& runtime) {
    if (!can) return cudaErrorInvalidValue;
    if (!is_device(runtime, device) || !is_device(runtime, peer)) return cudaErrorInvalidDevice;
    *can = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  if (!version) return last_error() = cudaErrorInvalidValue;
  *version = runtime().options().num_devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (!version) return last_error() = cudaErrorInvalidValue;
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return api([](Runtime& runtime) {
    count([](Counts& counts) { ++counts.drains; });
    runtime.queues().finish_device(current_device());
    runtime.heap(current_device()).trim_at_synchronisation();
    return cudaSuccess;
  });
}

cudaError_t cudaProfilerStart() {
  begin_counted_window();
  return cudaSuccess;
}

cudaError_t cudaProfilerStop() {
  end_counted_window();
  return cudaSuccess;
}

}  // extern "C"
