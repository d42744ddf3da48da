#include "report/line_file.h"

#include <algorithm>
#include <span>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace triptych::report {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20, kMaxLineBytes = std::size_t{1} << 20;

// Drops what is not to be kept, before the file is opened.
std::filesystem::path cut(std::filesystem::path path, const std::function<bool(const std::string&)>& keeps) {
  std::error_code unused;
  if (!std::filesystem::exists(path, unused)) return path;
  const std::string text = read_text_file(path, LineFile::kMaxBytes);
  std::string kept;
  for_each_line(text, [&](const std::string& line) {
    if (!keeps(line)) return;
    kept += line;
    kept += '\n';
  });
  if (kept != text) write_file_atomically(path, kept);
  return path;
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

void for_each_line_of(const std::filesystem::path& path, const std::function<void(const std::string&)>& use) {
  const File file = File::open_read(path);
  std::string chunk, line;
  bool is_too_long = false;
  const auto end_line = [&] {
    if (!is_too_long) use(line);
    line.clear();
    is_too_long = false;
  };
  const uint64_t size = file.size();  // of now: a run may be writing
  for (uint64_t offset = 0; offset < size; offset += chunk.size()) {
    chunk.resize(std::min<uint64_t>(kChunkBytes, size - offset));
    file.pread(std::as_writable_bytes(std::span(chunk)), offset);
    std::size_t begin = 0;
    for (std::size_t newline = chunk.find('\n'); newline != std::string::npos; newline = chunk.find('\n', begin)) {
      is_too_long = is_too_long || line.size() + (newline - begin) > kMaxLineBytes;
      if (!is_too_long) line.append(chunk, begin, newline - begin);
      end_line();
      begin = newline + 1;
    }
    is_too_long = is_too_long || line.size() + (chunk.size() - begin) > kMaxLineBytes;
    if (!is_too_long) line.append(chunk, begin);
  }
  if (!line.empty()) end_line();
}

LineFile::LineFile(std::filesystem::path path, const std::function<bool(const std::string&)>& keeps)
    : file_("metrics", cut(std::move(path), keeps), AppendFile::Existing::kContinue) {}

}  // namespace triptych::report
