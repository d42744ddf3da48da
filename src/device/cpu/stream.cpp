#include "device/stream.h"

#include <cstdlib>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "device/stream_states.h"

namespace triptych::device {

Stream::Stream(int num_threads, void* native, MemoryPool* pool)
    : num_threads_(num_threads), native_(native), pool_(pool), states_(new StreamStates) {}

Stream::~Stream() {
  delete states_;
  std::free(scratch_);
}

std::byte* Stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    std::free(std::exchange(scratch_, nullptr));
    scratch_bytes_ = 0;
    const std::size_t rounded = static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), 4096));
    scratch_ = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
    if (scratch_ == nullptr) {
      throw WorldError("device", fmt::format("out of memory: {} bytes of scratch were asked for", rounded));
    }
    scratch_bytes_ = rounded;
  }
  return scratch_;
}

}  // namespace triptych::device
