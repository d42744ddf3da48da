// What buffers do alike on every backend; each backend's device.cpp has their ends.

#include <utility>

#include "device/device.h"

namespace triptych::device {

Buffer::Buffer(std::shared_ptr<MemoryPool> pool, std::byte* data, std::size_t size, MemoryPart part)
    : pool_(std::move(pool)), data_(data), size_(size), part_(part) {}

Buffer::Buffer(Buffer&& other) noexcept
    : pool_(std::move(other.pool_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      part_(other.part_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(part_, other.part_);
  return *this;
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace triptych::device
