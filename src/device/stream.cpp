#include "device/stream.h"

#include <algorithm>
#include <cstdlib>

#include "base/checked.h"

namespace triptych {

void Stream::FreeScratch::operator()(std::byte* memory) const {
  std::free(memory);
}

std::byte* Stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_.reset();
    const std::size_t rounded = static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), 4096));
    scratch_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
    if (!scratch_)
      throw WorldError("device", fmt::format("out of memory: {} bytes of scratch were asked for", rounded));
    scratch_bytes_ = rounded;
  }
  return scratch_.get();
}

}  // namespace triptych
