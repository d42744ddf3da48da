#include "parallel/shared_segment.h"

#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::parallel {

SharedSegment SharedSegment::create(std::size_t bytes) {
  const auto refuse = [bytes](const char* call) {
    throw WorldError("shared memory", fmt::format("{} of {} bytes must succeed: {}. Free memory on this machine", call,
                                                  bytes, describe_errno(errno)));
  };
  SharedSegment segment;
  segment.descriptor_ = memfd_create("triptych", MFD_CLOEXEC);
  if (segment.descriptor_ < 0) refuse("memfd_create");
  if (ftruncate(segment.descriptor_, static_cast<off_t>(bytes)) != 0) refuse("ftruncate");
  segment.map(segment.descriptor_, bytes);
  if (segment.data_ == nullptr) refuse("mmap");
  return segment;
}

SharedSegment SharedSegment::open(const Ticket& ticket) {
  SharedSegment segment;
  // The descriptor is another process's; /proc opens the same file without passing it through a socket.
  const std::string path = fmt::format("/proc/{}/fd/{}", ticket.process, ticket.descriptor);
  segment.descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (segment.descriptor_ < 0) return segment;
  struct stat status {};
  // In another container the process number may be somebody else's.
  if (fstat(segment.descriptor_, &status) == 0 && status.st_ino == ticket.inode &&
      static_cast<uint64_t>(status.st_size) == ticket.bytes) {
    segment.map(segment.descriptor_, ticket.bytes);
  }
  segment.close_descriptor();
  return segment;
}

void SharedSegment::map(int descriptor, std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return;
  data_ = static_cast<std::byte*>(memory);
  size_ = bytes;
}

SharedSegment::SharedSegment(SharedSegment&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

SharedSegment& SharedSegment::operator=(SharedSegment&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

SharedSegment::~SharedSegment() {
  if (data_ != nullptr) munmap(data_, size_);
  close_descriptor();
}

SharedSegment::Ticket SharedSegment::ticket() const {
  struct stat status {};
  TRIPTYCH_CHECK(descriptor_ >= 0 && fstat(descriptor_, &status) == 0, "the segment is closed");
  return {.process = getpid(), .descriptor = descriptor_, .bytes = size_, .inode = status.st_ino};
}

void SharedSegment::close_descriptor() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
}

}  // namespace triptych::parallel
