#include "emulator/runtime/runtime.h"

#include <cstdio>
#include <cstdlib>

#include "emulator/runtime/counters.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

constexpr uint32_t kStreamHandles = 0x57e00000, kEventHandles = 0xe7e00000;

struct Process {
  std::mutex mutex;
  std::unique_ptr<Runtime> runtime;
};

// What is still queued when a program ends well runs then, so that a fault in it is found; a device would have been
// doing it. One that fails gives up what it has queued. The worker must not outlive what the kernels need.
void finish_process(int exit_code, void*) {
  StreamQueues& queues = runtime().queues();
  queues.stop();
  if (exit_code == EXIT_SUCCESS) queues.run_rest();
  write_counters();
}

// Never destroyed: destructors of the program's own statics may still call the runtime.
Process& process() {
  static Process& instance = *std::make_unique<Process>().release();
  return instance;
}

}  // namespace

Runtime& runtime() {
  Process& is = process();
  std::lock_guard lock(is.mutex);
  if (!is.runtime) {
    is.runtime = std::make_unique<Runtime>(Options::from_environment());
    on_exit(finish_process, nullptr);
  }
  return *is.runtime;
}

void restart(const Options& options) {
  runtime().queues().stop();
  Process& is = process();
  std::lock_guard lock(is.mutex);
  is.runtime = std::make_unique<Runtime>(options);
  current_device() = 0;
}

int& current_device() {
  static thread_local int device = 0;
  return device;
}

Runtime::Runtime(const Options& options)
    : options_(options),
      streams_(kStreamHandles),
      events_(kEventHandles),
      heaps_(static_cast<std::size_t>(options.num_devices)),
      null_streams_(static_cast<std::size_t>(options.num_devices)),
      queues_(std::make_unique<StreamQueues>(options.streams,
                                             [this](const PointPtr& point, const Work& work) { check(point, work); })) {
  host_frees_ = queues_->create(-1, false, false);
}

DeviceHeap& Runtime::heap(int device) {
  std::lock_guard lock(mutex_);
  std::unique_ptr<DeviceHeap>& heap = heaps_.at(static_cast<std::size_t>(device));
  if (!heap) heap = std::make_unique<DeviceHeap>(device, options_.memory_bytes);
  return *heap;
}

DeviceHeap* Runtime::heap_of(uint64_t address) {
  std::lock_guard lock(mutex_);
  for (const std::unique_ptr<DeviceHeap>& heap : heaps_)
    if (heap && heap->memory().contains(address)) return heap.get();
  return nullptr;
}

std::optional<StreamInfo> Runtime::stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return null_stream(current_device());
  if (handle == cudaStreamPerThread)
    report("unsupported", "cudaStreamPerThread is not emulated: create the streams that the program needs.");
  return streams_.find(handle);
}

StreamInfo Runtime::null_stream(int device) {
  std::lock_guard lock(mutex_);
  std::optional<StreamInfo>& stream = null_streams_.at(static_cast<std::size_t>(device));
  if (!stream) stream = StreamInfo{queues_->create(device, true, true), device, cudaStreamDefault, 0};
  return *stream;
}

void Runtime::free_by_host(std::unique_ptr<FreeWork> work) {
  queues_->finish(queues_->enqueue(host_frees_, std::move(work)));
}

void Runtime::release_freed() {
  freed_.release([this](uint64_t begin, uint64_t end) { history_.forget(begin, end); });
}

bool Runtime::is_first_launch(const void* kernel) {
  std::lock_guard lock(mutex_);
  return launched_.insert(kernel).second;
}

uint64_t Runtime::next_launch_number() {
  std::lock_guard lock(mutex_);
  return num_launches_++;
}

void Runtime::check(const PointPtr& point, const Work& work) {
  const std::vector<Access> accesses = work.accesses();
  const auto* const free = dynamic_cast<const FreeWork*>(&work);
  point->frees = free != nullptr;
  const std::optional<AccessHistory::Conflict> conflict = history_.add(point, accesses);
  if (free) freed_.add(queues_->unordered_pending(*point), *free);
  release_freed();
  if (conflict) report_conflict(*point, *conflict);
}

void Runtime::report_conflict(const Point& point, const AccessHistory::Conflict& conflict) {
  const Point& earlier = *conflict.earlier;
  const std::string where = describe(conflict.access);
  if (earlier.frees && point.is_after(earlier))
    report("use-after-free", point.name + " touches " + where + " after " + earlier.name + ".");
  if (earlier.frees || point.frees || earlier.allocates) {
    const Point& life = point.frees ? point : earlier;
    const Point& use = point.frees ? earlier : point;
    report("freed-while-in-use", use.name + " touches " + where + ", and nothing orders it " +
                                     (life.allocates ? "after " : "before ") + life.name +
                                     ". Let one stream wait for an event that is recorded on the other.");
  }
  report("stream-race", point.name + (conflict.access.writes ? " writes " : " reads ") + where + ", which " +
                            earlier.name + (conflict.earlier_wrote ? " writes" : " reads") +
                            ", and nothing orders the two. Let the stream of the later one wait for an event that is "
                            "recorded after the earlier one.");
}

std::string Runtime::describe(const Access& access) {
  char range[64];
  std::snprintf(range, sizeof range, "bytes 0x%llx to 0x%llx", static_cast<unsigned long long>(access.begin),
                static_cast<unsigned long long>(access.end));
  if (DeviceHeap* heap = heap_of(access.begin)) {
    const DeviceMemory::Allocation allocation = heap->memory().find(access.begin);
    if (allocation.size > 0)
      return "bytes " + std::to_string(access.begin - allocation.begin) + " to " +
             std::to_string(access.end - allocation.begin) + " of " + allocation.what + " (" +
             std::to_string(allocation.size) + " bytes)";
    return std::string(range) + " of device memory";
  }
  return std::string(range) + " of page-locked host memory";
}

DeviceMemory& memory_of(cudaStream_t stream) {
  const std::optional<StreamInfo> info = runtime().stream(stream);
  if (!info) report("bad-argument", "work on what is no stream, or on one that was destroyed.");
  return runtime().heap(info->device).memory();
}

void enqueue(cudaStream_t stream, std::unique_ptr<Work> work) {
  const std::optional<StreamInfo> info = runtime().stream(stream);
  if (!info) report("bad-argument", work->name() + " on what is no stream, or on one that was destroyed.");
  runtime().queues().enqueue(info->number, std::move(work));
}

}  // namespace triptych::emulator
