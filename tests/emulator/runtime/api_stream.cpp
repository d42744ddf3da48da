#include <algorithm>

#include "emulator/runtime/api.h"
#include "emulator/runtime/counters.h"
#include "emulator/runtime/host_function.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

cudaError_t create_stream(cudaStream_t* stream, unsigned flags, int priority) {
  return api([&](Runtime& runtime) {
    if (!stream || (flags & ~static_cast<unsigned>(cudaStreamNonBlocking)) != 0) return cudaErrorInvalidValue;
    const int device = current_device();
    const bool blocking = flags == cudaStreamDefault;
    runtime.null_stream(device);
    const std::size_t number = runtime.queues().create(device, blocking, false);
    *stream = runtime.streams().add({number, device, flags, std::clamp(priority, -5, 0)});
    return cudaSuccess;
  });
}

cudaError_t create_event(cudaEvent_t* event, unsigned flags) {
  return api([&](Runtime& runtime) {
    constexpr unsigned kKnown = cudaEventBlockingSync | cudaEventDisableTiming;
    if (flags & cudaEventInterprocess) report("unsupported", "events of other processes (cudaEventInterprocess).");
    if (!event || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
    *event = runtime.events().add({current_device(), flags, nullptr});
    return cudaSuccess;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return create_stream(stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return create_stream(stream, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  return create_stream(stream, flags, priority);
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    *flags = info->flags;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    *priority = info->priority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    *device = info->device;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.streams().find(stream);
    if (!info || !runtime.streams().remove(stream)) return cudaErrorInvalidResourceHandle;
    runtime.queues().destroy(info->number);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    count([](Counts& counts) { ++counts.drains; });
    runtime.queues().finish_stream(info->number);
    runtime.heap(info->device).trim_at_synchronisation();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    return runtime.queues().query_stream(info->number) ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    const std::optional<EventInfo> waited = runtime.events().find(event);
    if (!info || !waited) return cudaErrorInvalidResourceHandle;
    if (flags != cudaEventWaitDefault) return cudaErrorInvalidValue;
    // To wait for an event that was never recorded is no wait at all, without a word, on a real device.
    if (!waited->point)
      report("bad-argument",
             "cudaStreamWaitEvent for an event that was never recorded: a device would not wait at all.");
    runtime.queues().wait(info->number, waited->point);
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (!function) return cudaErrorInvalidValue;
    runtime.queues().enqueue(info->number, std::make_unique<HostFunctionWork>(function, argument));
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return create_event(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return create_event(event, flags);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    std::optional<EventInfo> recorded = runtime.events().find(event);
    if (!info || !recorded || recorded->device != info->device) return cudaErrorInvalidResourceHandle;
    recorded->point = runtime.queues().record(info->number);
    runtime.events().set(event, *recorded);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  if (flags != cudaEventRecordDefault) return last_error() = cudaErrorInvalidValue;
  return cudaEventRecord(event, stream);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return api([&](Runtime& runtime) {
    const std::optional<EventInfo> info = runtime.events().find(event);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (!info->point) return cudaSuccess;  // never recorded counts as complete
    return runtime.queues().query(info->point) ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return api([&](Runtime& runtime) {
    const std::optional<EventInfo> info = runtime.events().find(event);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (!info->point) return cudaSuccess;
    const bool drains = runtime.queues().is_newest(*info->point);
    count([&](Counts& counts) { ++(drains ? counts.drains : counts.event_waits); });
    runtime.queues().finish(info->point);
    runtime.heap(info->device).trim_at_synchronisation();
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return api([&](Runtime& runtime) {
    const std::optional<EventInfo> first = runtime.events().find(start), last = runtime.events().find(end);
    if (!milliseconds) return cudaErrorInvalidValue;
    if (!first || !last || !first->point || !last->point) return cudaErrorInvalidResourceHandle;
    if ((first->flags | last->flags) & cudaEventDisableTiming) return cudaErrorInvalidResourceHandle;
    if (!runtime.queues().query(first->point) || !runtime.queues().query(last->point)) return cudaErrorNotReady;
    const std::chrono::duration<float, std::milli> elapsed = last->point->reached_at - first->point->reached_at;
    *milliseconds = elapsed.count();
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api(
      [&](Runtime& runtime) { return runtime.events().remove(event) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

}  // extern "C"
