#include "data/about.h"

#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace triptych::data {

namespace {
constexpr uint64_t kMaxBytes = 4096;
}

std::string read_about(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "about.txt";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return "";
  const uint64_t size = File::open_read(path).size();
  std::string text = size <= kMaxBytes ? read_text_file(path, kMaxBytes) : "";
  if (size > kMaxBytes || !is_utf8(text)) {
    throw UserError(path.string(),
                    fmt::format("must say what the data set is in at most {} bytes of UTF-8, found {} bytes{}. Shorten "
                                "it, or move it away",
                                kMaxBytes, size, size > kMaxBytes ? "" : " of something else"));
  }
  std::string line;
  for (const char c : text) {
    const bool is_space = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (is_space && (line.empty() || line.back() == ' ')) continue;
    line += is_space ? ' ' : c;
  }
  if (line.ends_with(' ')) line.pop_back();
  return line;
}

}  // namespace triptych::data
