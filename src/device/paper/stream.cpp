#include "device/stream.h"

#include "base/error.h"
#include "device/stream_states.h"

namespace triptych::device {

Stream::Stream(int num_threads, void* native, MemoryPool* pool)
    : num_threads_(num_threads), native_(native), pool_(pool), states_(new StreamStates) {}

Stream::~Stream() {
  delete states_;
}

std::byte* Stream::scratch(std::size_t bytes) {
  throw InternalError("device", fmt::format("{} bytes of scratch were asked for, and no kernel runs on paper", bytes));
}

}  // namespace triptych::device
