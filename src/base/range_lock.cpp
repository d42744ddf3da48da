#include "base/range_lock.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::base {

RangeLock RangeLock::attempt(const std::filesystem::path& file, uint64_t number) {
  RangeLock lock;
  lock.descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (lock.descriptor_ < 0) {
    throw WorldError(file.string(), fmt::format("cannot be opened as a lock ({})", describe_errno(errno)));
  }
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(number);
  range.l_len = 1;
  if (::fcntl(lock.descriptor_, F_OFD_SETLK, &range) == 0) return lock;
  const int error = errno;
  ::close(std::exchange(lock.descriptor_, -1));
  if (error != EAGAIN && error != EACCES) {
    throw WorldError(file.string(), fmt::format("cannot be locked ({})", describe_errno(error)));
  }
  return lock;
}

RangeLock::RangeLock(RangeLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
RangeLock& RangeLock::operator=(RangeLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}
RangeLock::~RangeLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace triptych::base
