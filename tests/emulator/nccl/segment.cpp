#include "emulator/nccl/segment.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace triptych::emulator {

Segment::Segment(const std::string& name, std::size_t bytes) : name_(name), bytes_(bytes) {
  const auto refuse = [&](const char* call) {
    throw std::runtime_error(fmt::format("[emulator] {} of {} ({} bytes) must succeed: {}. Look at /dev/shm", call,
                                         name_, bytes_, std::strerror(errno)));
  };
  const int descriptor = shm_open(name_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) refuse("shm_open");
  // All ask for the same size, so it does not matter who comes first.
  const bool has_size = ftruncate(descriptor, static_cast<off_t>(bytes_)) == 0;
  void* const memory = has_size ? mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  close(descriptor);
  if (memory == MAP_FAILED) {
    unlink();
    refuse(has_size ? "mmap" : "ftruncate");
  }
  data_ = static_cast<std::byte*>(memory);
}

Segment::~Segment() {
  munmap(data_, bytes_);
}

void Segment::unlink() {
  if (linked_) shm_unlink(name_.c_str());
  linked_ = false;
}

}  // namespace triptych::emulator
