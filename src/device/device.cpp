#include "device/device.h"

#include <utility>

#include <omp.h>

#include "base/error.h"
#include "device/memory_pool.h"

namespace triptych {

Buffer::Buffer(std::shared_ptr<MemoryPool> pool, std::byte* data, std::size_t size)
    : pool_(std::move(pool)), data_(data), size_(size) {}

Buffer::Buffer(Buffer&& other) noexcept
    : pool_(std::move(other.pool_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->free(data_);
}

Device::Device(int num_threads) : pool_(std::make_shared<MemoryPool>()), stream_(num_threads) {
  if (num_threads < 1) {
    throw UserError("device", fmt::format("a rank needs at least one thread, found {}. Set run.threads", num_threads));
  }
  omp_set_num_threads(num_threads);  // of the calling thread: the rank; oneDNN takes its team from it
}

Buffer Device::allocate(std::size_t bytes) {
  return Buffer(pool_, pool_->allocate(bytes), bytes);
}

MemoryStats Device::memory() const {
  return pool_->stats();
}

}  // namespace triptych
