#include "device/cuda/handles.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "device/cuda/launch.h"

namespace triptych::device {
namespace {

using namespace std::chrono_literals;

constexpr int kNumYields = 200;  // some tens of microseconds: what a short kernel takes
constexpr auto kShortestNap = 10us;
constexpr auto kLongestNap = 500us;

}  // namespace

void check_cuda(cudaError_t code, std::string_view call) {
  if (code == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // or the check of the next launch would report this once more
  throw WorldError("cuda", fmt::format("{} must succeed: {} ({}), {}. If the call itself is right, a kernel before it "
                                       "failed: CUDA_LAUNCH_BLOCKING=1 shows which",
                                       call, cudaGetErrorName(code), static_cast<int>(code), cudaGetErrorString(code)));
}

void check_launch(std::string_view kernel) {
  check_cuda(cudaGetLastError(), kernel);
}

// In the destructors below a failure means that the GPU or the process is going down, and the handle with it: whoever
// works with them has been told by a call that could throw.

CudaStream::CudaStream(Priority priority) {
  int lowest = 0, highest = 0;
  if (priority == Priority::kHigh) TRIPTYCH_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  TRIPTYCH_CUDA(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest));
}

CudaStream::~CudaStream() {
  static_cast<void>(cudaStreamDestroy(stream_));
}

EventList::~EventList() {
  for (const cudaEvent_t event : free_) static_cast<void>(cudaEventDestroy(event));
}

cudaEvent_t EventList::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    free_.reserve(num_created_ + 1);  // so that giving back never allocates
    cudaEvent_t event = nullptr;
    TRIPTYCH_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    ++num_created_;
    return event;
  }
  const cudaEvent_t event = free_.back();
  free_.pop_back();
  return event;
}

void EventList::give_back(cudaEvent_t event) noexcept {
  const std::lock_guard lock(mutex_);
  free_.push_back(event);
}

CudaEvent::CudaEvent(std::shared_ptr<EventList> list, cudaStream_t stream)
    : list_(std::move(list)), event_(list_->take()) {
  const cudaError_t code = cudaEventRecord(event_, stream);
  if (code == cudaSuccess) return;
  list_->give_back(event_);
  check_cuda(code, "cudaEventRecord(event, stream)");
}

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) list_->give_back(event_);
}

bool CudaEvent::done() const {
  const cudaError_t code = cudaEventQuery(event_);
  if (code == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());  // no error, but it is kept like one
    return false;
  }
  check_cuda(code, "cudaEventQuery(event)");
  return true;
}

void CudaEvent::synchronize() const {
  TRIPTYCH_CUDA(cudaEventSynchronize(event_));
}

void CudaEvent::block(cudaStream_t stream) const {
  TRIPTYCH_CUDA(cudaStreamWaitEvent(stream, event_, 0));
}

void wait_on_host(const CudaEvent& event, const HostWatches& watches) {
  if (watches.empty()) return event.synchronize();
  for (Naps naps; !event.done(); naps.next()) watches.poll();
}

void Naps::next() {
  if (num_naps_++ < kNumYields) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(
        std::min<std::chrono::microseconds>(kShortestNap * (num_naps_ - kNumYields), kLongestNap));
  }
}

}  // namespace triptych::device
