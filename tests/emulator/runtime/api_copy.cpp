#include <string>

#include "emulator/runtime/api.h"
#include "emulator/runtime/copy_work.h"
#include "emulator/runtime/counters.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

struct Rows {
  std::size_t bytes = 0, count = 1;
};

CopySide side_of(Runtime& runtime, const void* pointer, std::size_t pitch) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  DeviceHeap* const heap = runtime.heap_of(address);
  return {address, pitch, heap ? &heap->memory() : nullptr};
}

void check_direction(cudaMemcpyKind kind, const CopySide& to, const CopySide& from) {
  if (kind == cudaMemcpyDefault) return;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (from_device != (from.memory != nullptr) || to_device != (to.memory != nullptr))
    report("bad-argument", "a copy that is said to go in direction " + std::to_string(kind) +
                               " (cudaMemcpyKind) goes from " + CopyWork::kind(to, from) + " by its addresses.");
}

bool is_page_locked(Runtime& runtime, const CopySide& side) {
  const HostMemory::Range range = runtime.host_memory().find(side.address);
  return range.begin != range.end;
}

cudaError_t copy(const CopySide& to, const CopySide& from, const Rows& rows, cudaMemcpyKind kind, cudaStream_t stream,
                 bool asynchronous) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
    if (rows.bytes == 0 || rows.count == 0) return cudaSuccess;
    if (to.address == 0 || from.address == 0) return cudaErrorInvalidValue;
    if (rows.count > 1 && (to.pitch < rows.bytes || from.pitch < rows.bytes)) return cudaErrorInvalidPitchValue;
    check_direction(kind, to, from);
    const bool touches_pageable =
        (!from.memory && !is_page_locked(runtime, from)) || (!to.memory && !is_page_locked(runtime, to));
    const bool to_pageable = !to.memory && !is_page_locked(runtime, to);
    const bool within_host = !to.memory && !from.memory;
    const bool within_device = to.memory && from.memory;
    // The host goes on before a copy within the device, even by cudaMemcpy, and waits for one into pageable memory,
    // even by cudaMemcpyAsync.
    const bool waits = to_pageable || within_host || (!asynchronous && !within_device);
    count([&](Counts& counts) {
      Counts::Calls& calls = counts.copies[CopyWork::kind(to, from)];
      ++calls.calls;
      calls.bytes += rows.bytes * rows.count;
      if (waits)
        ++counts.drains;
      else if (touches_pageable)
        ++counts.staged_copies;
    });
    StreamQueues& queues = runtime.queues();
    // A copy that the host does itself starts when the stream has come to it, and not before.
    if (within_host) queues.finish_stream(info->number);
    auto work = std::make_unique<CopyWork>(to, from, rows.bytes, rows.count, runtime.host_memory());
    const PointPtr point = queues.enqueue(info->number, std::move(work));
    if (waits) queues.finish(point);
    return cudaSuccess;
  });
}

cudaError_t copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, const Rows& rows,
                      cudaMemcpyKind kind, cudaStream_t stream, bool asynchronous) {
  if (const cudaError_t error = entry_error(); error != cudaSuccess) return last_error() = error;
  return copy(side_of(runtime(), to, to_pitch), side_of(runtime(), from, from_pitch), rows, kind, stream, asynchronous);
}

cudaError_t fill(void* pointer, std::size_t pitch, int value, const Rows& rows, cudaStream_t stream,
                 bool asynchronous) {
  return api([&](Runtime& runtime) {
    const std::optional<StreamInfo> info = runtime.stream(stream);
    if (!info) return cudaErrorInvalidResourceHandle;
    if (rows.bytes == 0 || rows.count == 0) return cudaSuccess;
    if (rows.count > 1 && pitch < rows.bytes) return cudaErrorInvalidPitchValue;
    const CopySide to = side_of(runtime, pointer, pitch);
    const bool page_locked = !to.memory && is_page_locked(runtime, to);
    if (!to.memory && !page_locked)
      report("bad-argument", "cudaMemset of memory that is neither the device's nor page-locked.");
    const bool waits = page_locked && !asynchronous;  // what is the device's own the host does not wait for
    count([&](Counts& counts) {
      Counts::Calls& calls = counts.copies["memset"];
      ++calls.calls;
      calls.bytes += rows.bytes * rows.count;
      if (waits) ++counts.drains;
    });
    const PointPtr point =
        runtime.queues().enqueue(info->number, std::make_unique<FillWork>(to, value, rows.bytes, rows.count));
    if (waits) runtime.queues().finish(point);
    return cudaSuccess;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return copy_rows(to, bytes, from, bytes, {bytes, 1}, kind, nullptr, false);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_rows(to, bytes, from, bytes, {bytes, 1}, kind, stream, true);
}

cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t num_rows, cudaMemcpyKind kind) {
  return copy_rows(to, to_pitch, from, from_pitch, {bytes, num_rows}, kind, nullptr, false);
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t bytes, std::size_t num_rows, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_rows(to, to_pitch, from, from_pitch, {bytes, num_rows}, kind, stream, true);
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  return fill(pointer, bytes, value, {bytes, 1}, nullptr, false);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  return fill(pointer, bytes, value, {bytes, 1}, stream, true);
}

cudaError_t cudaMemset2DAsync(void* pointer, std::size_t pitch, int value, std::size_t bytes, std::size_t num_rows,
                              cudaStream_t stream) {
  return fill(pointer, pitch, value, {bytes, num_rows}, stream, true);
}

}  // extern "C"
