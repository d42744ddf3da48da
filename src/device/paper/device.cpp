// A device without memory: what is allocated is counted, what is copied is not there, what is read are zeros.

#include "device/device.h"

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "device/paper/memory_pool.h"

namespace triptych::device {

struct DeviceState {
  WorkLog log;
};
struct Event::State {};

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->free(size_, part_);
}

HostBuffer::~HostBuffer() {
  std::free(data_);
}

bool Event::done() const {
  return true;
}

void wait_on_host(const Event&, const std::function<void()>&) {}

Device::Device(int num_threads, int)
    : state_(std::make_unique<DeviceState>()),
      pool_(std::make_shared<MemoryPool>()),
      stream_(std::make_unique<Stream>(num_threads, &state_->log)) {}

Device::~Device() = default;

std::string_view Device::kind() const {
  return "paper";
}

std::string Device::description() const {
  return "paper";
}

bool Device::host_can_read() const {
  return false;
}

Buffer Device::allocate(std::size_t bytes, MemoryPart part) {
  return Buffer(pool_, pool_->allocate(bytes, part), bytes, part);
}

MemoryStats Device::memory() const {
  return pool_->stats();
}

void Device::copy(void*, const void*, std::size_t bytes) {
  state_->log.add({.bytes = 2 * static_cast<double>(bytes), .num_kernels = 1});
}

void Device::zero(void*, std::size_t bytes) {
  state_->log.add({.bytes = static_cast<double>(bytes), .num_kernels = 1});
}

void Device::write(void*, const void*, std::size_t) {}

void Device::read(void* host, const void*, std::size_t bytes) {
  if (bytes > 0) std::memset(host, 0, bytes);
}

void Device::synchronize() {}

WorkLog* Device::work_log() {
  return &state_->log;
}

void Device::profile(bool) {}

HostBuffer Device::allocate_host(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(std::calloc(bytes > 0 ? bytes : 1, 1));
  if (data == nullptr) throw WorldError("device", fmt::format("out of memory: {} bytes of the host's", bytes));
  return HostBuffer(data, bytes);
}

Event Device::upload(void*, const HostBuffer& from, std::size_t bytes, const Event&) {
  TRIPTYCH_CHECK(bytes <= from.size(), "{} bytes of a host buffer of {}", bytes, from.size());
  return Event();
}

Event Device::download(HostBuffer& to, const void* from, std::size_t bytes) {
  TRIPTYCH_CHECK(bytes <= to.size(), "{} bytes into a host buffer of {}", bytes, to.size());
  read(to.data(), from, bytes);
  return Event();
}

Event Device::record() {
  return Event();
}

void Device::wait(const Event&) {}

}  // namespace triptych::device
