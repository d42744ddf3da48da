#include "device/device.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include <omp.h>

#include "base/error.h"
#include "device/cpu/memory_pool.h"

namespace triptych::device {

struct DeviceState {};
struct Event::State {};

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->free(data_, part_);
}

HostBuffer::~HostBuffer() {
  std::free(data_);
}

// Every call has done its work when it returns.
bool Event::done() const {
  return true;
}

void wait_on_host(const Event&, const std::function<void()>&) {}

Device::Device(int num_threads, int)
    : state_(std::make_unique<DeviceState>()),
      pool_(std::make_shared<MemoryPool>()),
      stream_(std::make_unique<Stream>(num_threads)) {
  if (num_threads < 1) {
    throw UserError("device", fmt::format("a rank needs at least one thread, found {}. Set run.threads", num_threads));
  }
  omp_set_num_threads(num_threads);  // of the calling thread: the rank; oneDNN takes its team from it
}

Device::~Device() = default;

std::string_view Device::kind() const {
  return "cpu";
}

std::string Device::description() const {
  return fmt::format("CPU, {} threads", stream_->num_threads());
}

bool Device::host_can_read() const {
  return true;
}

Buffer Device::allocate(std::size_t bytes, MemoryPart part) {
  return Buffer(pool_, pool_->allocate(bytes, part), bytes, part);
}

MemoryStats Device::memory() const {
  return pool_->stats();
}

void Device::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void Device::zero(void* to, std::size_t bytes) {
  if (bytes > 0) std::memset(to, 0, bytes);
}

void Device::write(void* to, const void* host, std::size_t bytes) {
  copy(to, host, bytes);
}

void Device::read(void* host, const void* from, std::size_t bytes) {
  copy(host, from, bytes);
}

void Device::synchronize() {}

WorkLog* Device::work_log() {
  return nullptr;
}

void Device::profile(bool) {}

HostBuffer Device::allocate_host(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(std::malloc(bytes > 0 ? bytes : 1));
  if (data == nullptr) throw WorldError("device", fmt::format("out of memory: {} bytes of the host's", bytes));
  return HostBuffer(data, bytes);
}

Event Device::upload(void* to, const HostBuffer& from, std::size_t bytes, const Event&) {
  TRIPTYCH_CHECK(bytes <= from.size(), "{} bytes of a host buffer of {}", bytes, from.size());
  copy(to, from.data(), bytes);
  return Event();
}

Event Device::download(HostBuffer& to, const void* from, std::size_t bytes) {
  TRIPTYCH_CHECK(bytes <= to.size(), "{} bytes into a host buffer of {}", bytes, to.size());
  copy(to.data(), from, bytes);
  return Event();
}

Event Device::record() {
  return Event();
}

void Device::wait(const Event&) {}

}  // namespace triptych::device
