#include "device/stream.h"

#include <utility>

#include "base/checked.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/memory_pool.h"

namespace triptych {
namespace {

constexpr int64_t kScratchGranularity = 1 << 20;  // so that it grows a few times, not with every new shape

}  // namespace

Stream::Stream(int num_threads, void* native) : num_threads_(num_threads), native_(native) {}

Stream::~Stream() {
  states_.clear();  // what is in there may have work of its own queued on the stream
  // Fails only where the GPU or the process is going down.
  if (scratch_ != nullptr) static_cast<void>(cudaFreeAsync(scratch_, cuda_stream(*this)));
}

// The kernels that use the old scratch memory are before its release in the stream's order.
std::byte* Stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (scratch_ != nullptr) {
      TRIPTYCH_CUDA(cudaFreeAsync(std::exchange(scratch_, nullptr), cuda_stream(*this)));
      scratch_bytes_ = 0;
    }
    const auto rounded = static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), kScratchGranularity));
    scratch_ = allocate_in_order(rounded, cuda_stream(*this));  // aligned to 256, as everything that CUDA allocates
    scratch_bytes_ = rounded;
  }
  return scratch_;
}

}  // namespace triptych
