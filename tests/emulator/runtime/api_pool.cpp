#include <algorithm>
#include <cstdint>
#include <string>

#include "emulator/runtime/api.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

// Each device has the one pool that it comes with.
cudaMemPool_t pool_handle(int device) {
  return reinterpret_cast<cudaMemPool_t>(0x9001000000 + 16 * device);
}

DeviceHeap* heap_of(Runtime& runtime, cudaMemPool_t pool) {
  for (int device = 0; device < runtime.options().num_devices; ++device)
    if (pool == pool_handle(device)) return &runtime.heap(device);
  return nullptr;
}

cudaError_t get_default_pool(cudaMemPool_t* pool, int device) {
  return api([&](Runtime& runtime) {
    if (!pool) return cudaErrorInvalidValue;
    if (device < 0 || device >= runtime.options().num_devices) return cudaErrorInvalidDevice;
    *pool = pool_handle(device);
    return cudaSuccess;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  return get_default_pool(pool, device);
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int device) {
  return get_default_pool(pool, device);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return api([&](Runtime& runtime) {
    DeviceHeap* const heap = heap_of(runtime, pool);
    if (!heap || !value) return cudaErrorInvalidValue;
    const uint64_t bytes = *static_cast<const uint64_t*>(value);
    switch (attribute) {
      case cudaMemPoolAttrReleaseThreshold:
        heap->set_pool([&](DeviceHeap::Pool& is) { is.release_threshold = bytes; });
        return cudaSuccess;
      // The marks can be reset and nothing else.
      case cudaMemPoolAttrReservedMemHigh:
        if (bytes != 0) return cudaErrorInvalidValue;
        heap->set_pool([](DeviceHeap::Pool& is) { is.reserved_high = is.reserved; });
        return cudaSuccess;
      case cudaMemPoolAttrUsedMemHigh:
        if (bytes != 0) return cudaErrorInvalidValue;
        heap->set_pool([](DeviceHeap::Pool& is) { is.used_high = is.used; });
        return cudaSuccess;
      case cudaMemPoolReuseFollowEventDependencies:
      case cudaMemPoolReuseAllowOpportunistic:
      case cudaMemPoolReuseAllowInternalDependencies:
        return cudaSuccess;  // memory is never reused here
      default:
        return cudaErrorInvalidValue;
    }
  });
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return api([&](Runtime& runtime) {
    DeviceHeap* const heap = heap_of(runtime, pool);
    if (!heap || !value) return cudaErrorInvalidValue;
    const DeviceHeap::Pool is = heap->pool();
    auto* const bytes = static_cast<uint64_t*>(value);
    switch (attribute) {
      case cudaMemPoolAttrReleaseThreshold:
        *bytes = is.release_threshold;
        return cudaSuccess;
      case cudaMemPoolAttrReservedMemCurrent:
        *bytes = is.reserved;
        return cudaSuccess;
      case cudaMemPoolAttrReservedMemHigh:
        *bytes = is.reserved_high;
        return cudaSuccess;
      case cudaMemPoolAttrUsedMemCurrent:
        *bytes = is.used;
        return cudaSuccess;
      case cudaMemPoolAttrUsedMemHigh:
        *bytes = is.used_high;
        return cudaSuccess;
      default:
        report("unsupported", "cudaMemPoolGetAttribute of attribute " + std::to_string(attribute) + ".");
    }
  });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t bytes_to_keep) {
  return api([&](Runtime& runtime) {
    DeviceHeap* const heap = heap_of(runtime, pool);
    if (!heap) return cudaErrorInvalidValue;
    heap->trim_pool(bytes_to_keep);
    return cudaSuccess;
  });
}

cudaError_t cudaMallocFromPoolAsync(void** pointer, std::size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (heap_of(runtime, pool) != &runtime.heap(info->device)) return cudaErrorInvalidValue;
    return cudaMallocAsync(pointer, bytes, stream);
  });
}

}  // extern "C"
