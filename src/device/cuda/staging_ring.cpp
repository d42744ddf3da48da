#include "device/cuda/staging_ring.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"

namespace triptych::device {
namespace {

constexpr std::size_t kRingBytes = std::size_t{8} << 20;
constexpr std::size_t kPieceBytes = kRingBytes / 8;  // of a large write, so that filling and copying overlap
constexpr int64_t kAlignment = 64;

}  // namespace

StagingRing::StagingRing(std::shared_ptr<EventList> events, std::shared_ptr<const HostWatches> watches)
    : events_(std::move(events)), watches_(std::move(watches)) {
  void* data = nullptr;
  TRIPTYCH_CUDA(cudaHostAlloc(&data, kRingBytes, cudaHostAllocDefault));
  data_ = static_cast<std::byte*>(data);
}

StagingRing::~StagingRing() {
  try {
    for (const Piece& piece : pieces_) piece.copied.synchronize();
  } catch (const Error&) {  // the GPU has failed: nothing reads the ring any more
  }
  static_cast<void>(cudaFreeHost(data_));
}

// The ring is used from the first piece's begin to end_, perhaps around the end of the memory. A piece never ends where
// the first begins, so that a full ring and an empty one differ.
std::size_t StagingRing::reserve(std::size_t bytes) {
  while (!pieces_.empty() && pieces_.front().copied.done()) pieces_.pop_front();
  for (; !pieces_.empty(); pieces_.pop_front()) {
    const std::size_t first = pieces_.front().begin;
    if (end_ > first) {
      if (end_ + bytes <= kRingBytes) return end_;
      if (bytes < first) return 0;
    } else if (end_ + bytes < first) {
      return end_;
    }
    wait_on_host(pieces_.front().copied, *watches_);
  }
  return 0;
}

void StagingRing::write(void* to, const void* host, std::size_t bytes, cudaStream_t stream) {
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t length = std::min(bytes - done, kPieceBytes);
    const auto rounded = static_cast<std::size_t>(round_up(static_cast<int64_t>(length), kAlignment));
    const std::size_t begin = reserve(rounded);
    std::memcpy(data_ + begin, static_cast<const std::byte*>(host) + done, length);
    TRIPTYCH_CUDA(
        cudaMemcpyAsync(static_cast<std::byte*>(to) + done, data_ + begin, length, cudaMemcpyHostToDevice, stream));
    pieces_.push_back({begin, CudaEvent(events_, stream)});
    end_ = begin + rounded;
    done += length;
  }
}

}  // namespace triptych::device
