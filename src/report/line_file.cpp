#include "report/line_file.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace triptych::report {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view action, int error_number) {
  throw WorldError("metrics", fmt::format("cannot {} {}: {}.", action, path.string(), describe_errno(error_number)));
}

}  // namespace

void for_each_line(const std::string& text, const std::function<void(const std::string&)>& use) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t newline = text.find('\n', begin);
    const std::size_t end = newline == std::string::npos ? text.size() : newline;
    use(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

LineFile::LineFile(std::filesystem::path path, const std::function<bool(const std::string&)>& keeps)
    : path_(std::move(path)) {
  std::error_code unused;
  if (std::filesystem::exists(path_, unused)) {
    const std::string text = read_text_file(path_, kMaxBytes);
    std::string kept;
    for_each_line(text, [&](const std::string& line) {
      if (!keeps(line)) return;
      kept += line;
      kept += '\n';
    });
    if (kept != text) write_file_atomically(path_, kept);
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(path_, "open", errno);
}

LineFile::~LineFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LineFile::write(std::string_view text) {
  const std::string line = std::string(text) + '\n';
  const off_t size_before = ::lseek(descriptor_, 0, SEEK_END);
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = ::write(descriptor_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error_number = count < 0 ? errno : ENOSPC;
      // Takes back the part that went through; if that fails too, the next reader drops the torn line.
      if (size_before >= 0 && ::ftruncate(descriptor_, size_before) != 0) fail(path_, "shorten", errno);
      fail(path_, "append to", error_number);
    }
    written += static_cast<std::size_t>(count);
  }
}

void LineFile::sync() {
  if (::fsync(descriptor_) != 0) fail(path_, "flush", errno);
}

}  // namespace triptych::report
