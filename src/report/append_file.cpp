#include "report/append_file.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::report {

AppendFile::AppendFile(std::string_view where, std::filesystem::path path, Existing existing)
    : where_(where), path_(std::move(path)) {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (existing == Existing::kRefuse ? O_EXCL : 0);
  descriptor_ = ::open(path_.c_str(), flags, 0644);
  if (descriptor_ < 0) fail("open", errno);
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::string_view record) {
  const off_t size_before = ::lseek(descriptor_, 0, SEEK_END);
  std::size_t written = 0;
  while (written < record.size()) {
    const ssize_t count = ::write(descriptor_, record.data() + written, record.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error_number = count < 0 ? errno : ENOSPC;
      // Takes back the part that went through; if that fails too, the next reader drops the torn record.
      if (size_before >= 0 && ::ftruncate(descriptor_, size_before) != 0) fail("shorten", errno);
      fail("append to", error_number);
    }
    written += static_cast<std::size_t>(count);
  }
}

void AppendFile::sync() {
  if (::fsync(descriptor_) != 0) fail("flush", errno);
}

void AppendFile::fail(std::string_view action, int error_number) const {
  throw WorldError(where_, fmt::format("cannot {} {}: {}.", action, path_.string(), describe_errno(error_number)));
}

}  // namespace triptych::report
