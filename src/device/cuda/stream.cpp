#include "device/stream.h"

#include <utility>

#include "base/checked.h"
#include "device/cuda/memory_pool.h"
#include "device/stream_states.h"

namespace triptych::device {
namespace {

constexpr int64_t kScratchGranularity = 1 << 20;  // so that it grows a few times, not with every new shape

}  // namespace

Stream::Stream(int num_threads, void* native, MemoryPool* pool)
    : num_threads_(num_threads), native_(native), pool_(pool), states_(new StreamStates) {}

Stream::~Stream() {
  delete states_;  // what is in there may have work of its own queued on the stream
  if (scratch_ != nullptr) pool_->free(scratch_, scratch_bytes_);
}

// The kernels that use the old scratch memory are before its release in the stream's order.
std::byte* Stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (scratch_ != nullptr) {
      pool_->free(std::exchange(scratch_, nullptr), std::exchange(scratch_bytes_, 0));
    }
    const auto rounded = static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), kScratchGranularity));
    scratch_ = pool_->allocate(rounded);  // aligned to 256, as everything that CUDA allocates
    scratch_bytes_ = rounded;
  }
  return scratch_;
}

}  // namespace triptych::device
