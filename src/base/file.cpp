#include "base/file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::base {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view verb, int error_number) {
  throw WorldError(path.string(), fmt::format("cannot {} ({})", verb, describe_errno(error_number)));
}

}  // namespace

File File::open_read(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open it for reading", errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    throw WorldError(path.string(), "must be a regular file");
  }
  return File(descriptor, path);
}

File File::create(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) fail(path, "create it", errno);
  return File(descriptor, path);
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

uint64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail(path_, "read its size", errno);
  return static_cast<uint64_t>(status.st_size);
}

void File::pread(std::span<std::byte> out, uint64_t offset) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, fmt::format("read {} bytes at {}", out.size(), offset), errno);
    if (n == 0) {
      throw WorldError(path_.string(),
                       fmt::format("ends at byte {}, but {} bytes at {} were to be read; it is truncated",
                                   offset + done, out.size(), offset));
    }
    done += static_cast<std::size_t>(n);
  }
}

void File::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, fmt::format("write {} bytes", bytes.size()), errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void File::sync_and_close() {
  if (::fsync(descriptor_) != 0) fail(path_, "fsync it", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "close it", errno);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  const File file = File::open_read(path);
  const uint64_t size = file.size();
  if (size > max_bytes) {
    throw WorldError(path.string(), fmt::format("has {} bytes; at most {} are read here", size, max_bytes));
  }
  std::string text(size, '\0');
  file.pread(std::as_writable_bytes(std::span(text)), 0);
  return text;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path temporary = path.string() + fmt::format(".tmp{}", ::getpid());
  try {
    File file = File::create(temporary);
    file.write(text);
    file.sync_and_close();
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary.c_str());
    fail(path, "rename a new version to it", error_number);
  }
  sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  std::filesystem::directory_iterator it(folder, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) return paths;
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) paths.push_back(it->path());
  if (error) throw WorldError(folder.string(), fmt::format("cannot be listed ({})", error.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(folder, "open the folder", errno);
  const int result = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  if (result != 0) fail(folder, "fsync the folder", error_number);
}

}  // namespace triptych::base
