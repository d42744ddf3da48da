#include <exception>
#include <string>

#include "emulator/runtime/api.h"
#include "emulator/runtime/counters.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

uint64_t address_of(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

void count_allocation(const char* function, std::size_t bytes) {
  count([&](Counts& counts) {
    ++counts.allocations[function].calls;
    counts.allocations[function].bytes += bytes;
  });
}

uint64_t allocate(Runtime& runtime, int device, std::size_t bytes, bool from_pool) {
  const auto make_room = [&](const std::function<bool()>& enough) {
    runtime.queues().run_until([&] {
      runtime.release_freed();
      return enough();
    });
  };
  return runtime.heap(device).allocate(bytes, from_pool, make_room);
}

std::unique_ptr<FreeWork> free_work(const char* function, DeviceHeap& heap, const DeviceHeap::Allocation& allocation) {
  return std::make_unique<FreeWork>(function, allocation.begin, allocation.begin + allocation.bytes,
                                    [&heap, begin = allocation.begin] { heap.release(begin); });
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return api([&](Runtime& runtime) {
    if (!pointer) return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    const uint64_t begin = allocate(runtime, current_device(), bytes, false);
    if (begin == 0) return cudaErrorMemoryAllocation;
    count_allocation("cudaMalloc", bytes);
    *pointer = reinterpret_cast<void*>(begin);
    return cudaSuccess;
  });
}

// Waits for the device, unless the memory is the pool's: then the program has to have waited.
cudaError_t cudaFree(void* pointer) {
  return api([&](Runtime& runtime) {
    if (!pointer) return cudaSuccess;
    DeviceHeap* const heap = runtime.heap_of(address_of(pointer));
    if (!heap) report("bad-argument", "cudaFree of an address that is not in device memory.");
    const std::optional<DeviceHeap::Allocation> allocation = heap->find(address_of(pointer));
    if (allocation && !allocation->from_pool && !allocation->freed) {
      count([](Counts& counts) { ++counts.drains; });
      runtime.queues().finish_device(heap->device());
    }
    runtime.free_by_host(free_work("cudaFree", *heap, heap->mark_freed(address_of(pointer))));
    return cudaSuccess;
  });
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (!pointer || bytes == 0) return cudaErrorInvalidValue;
    const uint64_t begin = allocate(runtime, info->device, bytes, true);
    if (begin == 0) return cudaErrorMemoryAllocation;
    count_allocation("cudaMallocAsync", bytes);
    // For the checks, the point where the memory comes to life writes all of it.
    const PointPtr point =
        runtime.queues().record(info->number, "cudaMallocAsync of " + std::to_string(bytes) + " bytes");
    point->allocates = true;
    runtime.history().add(point, std::vector<Access>{{begin, begin + bytes, true}});
    *pointer = reinterpret_cast<void*>(begin);
    return cudaSuccess;
  });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (!pointer) return cudaErrorInvalidValue;
    DeviceHeap* const heap = runtime.heap_of(address_of(pointer));
    if (!heap) report("bad-argument", "cudaFreeAsync of an address that is not in device memory.");
    if (heap->device() != info->device)
      report("bad-argument", "cudaFreeAsync of memory of device " + std::to_string(heap->device()) +
                                 " on a stream of device " + std::to_string(info->device) + ".");
    runtime.queues().enqueue(info->number, free_work("cudaFreeAsync", *heap, heap->mark_freed(address_of(pointer))));
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  return api([&](Runtime& runtime) {
    if (!free_bytes || !total_bytes) return cudaErrorInvalidValue;
    const DeviceHeap& heap = runtime.heap(current_device());
    *free_bytes = heap.free_bytes();
    *total_bytes = heap.capacity();
    return cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  return api([&](Runtime& runtime) {
    constexpr unsigned kKnown = cudaHostAllocPortable | cudaHostAllocWriteCombined;
    if (flags & cudaHostAllocMapped)
      report("unsupported", "page-locked memory that kernels access (cudaHostAllocMapped).");
    if (!pointer || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    *pointer = runtime.host_memory().allocate(bytes);
    if (!*pointer) return cudaErrorMemoryAllocation;
    count_allocation("cudaHostAlloc", bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* pointer) {
  return api([&](Runtime& runtime) {
    if (!pointer) return cudaSuccess;
    HostMemory& host = runtime.host_memory();
    if (!host.owns(pointer)) return cudaErrorInvalidValue;
    // A program that an exception unwinds gives up what it has queued. The memory stays, and the error is what counts.
    if (std::uncaught_exceptions() > 0) return cudaSuccess;
    const HostMemory::Range range = host.find(address_of(pointer));
    runtime.free_by_host(
        std::make_unique<FreeWork>("cudaFreeHost", range.begin, range.end, [&host, pointer] { host.free(pointer); }));
    return cudaSuccess;
  });
}

cudaError_t cudaHostRegister(void* pointer, std::size_t bytes, unsigned flags) {
  return api([&](Runtime& runtime) {
    if (flags & cudaHostRegisterMapped)
      report("unsupported", "page-locked memory that kernels access (cudaHostRegisterMapped).");
    if (!pointer || bytes == 0) return cudaErrorInvalidValue;
    return runtime.host_memory().register_range(pointer, bytes) ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered;
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return api([&](Runtime& runtime) {
    HostMemory& host = runtime.host_memory();
    const HostMemory::Range range = host.find(address_of(pointer));
    if (range.begin != address_of(pointer) || range.begin == range.end || host.owns(pointer))
      return cudaErrorHostMemoryNotRegistered;
    runtime.free_by_host(std::make_unique<FreeWork>("cudaHostUnregister", range.begin, range.end,
                                                    [&host, pointer] { host.unregister_range(pointer); }));
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return api([&](Runtime& runtime) {
    if (!attributes) return cudaErrorInvalidValue;
    *attributes = cudaPointerAttributes{};
    const uint64_t address = address_of(pointer);
    const HostMemory::Range range = runtime.host_memory().find(address);
    if (const DeviceHeap* heap = runtime.heap_of(address)) {
      attributes->type = cudaMemoryTypeDevice;
      attributes->device = heap->device();
      attributes->devicePointer = const_cast<void*>(pointer);
    } else if (range.begin != range.end) {
      attributes->type = cudaMemoryTypeHost;
      attributes->device = current_device();
      attributes->hostPointer = const_cast<void*>(pointer);
    } else {
      attributes->type = cudaMemoryTypeUnregistered;
      attributes->device = cudaInvalidDeviceId;
      attributes->hostPointer = const_cast<void*>(pointer);
    }
    return cudaSuccess;
  });
}

}  // extern "C"
