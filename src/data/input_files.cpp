#include "data/input_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>

#include <fmt/format.h>
#include <glob.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/line_reader.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxInputs = 1000000;

/// "000..099" of a pattern in braces; false if it is no count.
bool expand_count(std::string_view body, std::string_view pattern, std::vector<std::string>& words) {
  const std::size_t dots = body.find("..");
  if (dots == std::string_view::npos) return false;
  const std::string_view first = body.substr(0, dots), last = body.substr(dots + 2);
  const auto number_of = [](std::string_view digits, uint64_t& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && digits.size() <= 18;
  };
  uint64_t from = 0, to = 0;
  if (!number_of(first, from) || !number_of(last, to)) return false;
  if (to < from || to - from >= kMaxInputs) {
    throw UserError(
        pattern, fmt::format("counts from {} to {}; a count goes upwards, to at most {} names.", from, to, kMaxInputs));
  }
  for (uint64_t k = from; k <= to; ++k) words.push_back(fmt::format("{:0{}}", k, first.size()));
  return true;
}

/// The pattern with its braces written out, the first ones varying slowest.
void expand_braces(const std::string& pattern, std::vector<std::string>& names) {
  const std::size_t open = pattern.find('{');
  const std::size_t close = open == std::string::npos ? open : pattern.find('}', open);
  if (close == std::string::npos) {
    names.push_back(pattern);
    if (names.size() > kMaxInputs) throw UserError(pattern, fmt::format("at most {} inputs are taken.", kMaxInputs));
    return;
  }
  const std::string_view body = std::string_view(pattern).substr(open + 1, close - open - 1);
  std::vector<std::string> words;
  if (!expand_count(body, pattern, words)) {
    for (std::size_t begin = 0; begin <= body.size();) {
      const std::size_t end = std::min(body.find(',', begin), body.size());
      words.emplace_back(body.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  for (const std::string& word : words) {
    expand_braces(pattern.substr(0, open) + word + pattern.substr(close + 1), names);
  }
}

void expand_stars(const std::string& name, std::vector<fs::path>& paths) {
  std::error_code ignored;
  if (fs::exists(name, ignored)) {
    paths.emplace_back(name);
    return;
  }
  glob_t found{};
  const int outcome = ::glob(name.c_str(), GLOB_ERR, nullptr, &found);
  if (outcome == 0) {
    for (std::size_t k = 0; k < found.gl_pathc; ++k) paths.emplace_back(found.gl_pathv[k]);
  }
  ::globfree(&found);
  if (outcome != 0) {
    throw UserError(name, name.find_first_of("*?[") == std::string::npos
                              ? "does not exist. Name a file, or a folder where one is read."
                              : "names nothing that is there. Mend the pattern.");
  }
}

std::string skip_space(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return std::string(first == std::string_view::npos ? std::string_view() : text.substr(first));
}

/// Whether the text is a JSON object whose first key is one of COCO's and holds what it holds there.
bool is_coco(std::string_view head) {
  std::string text = skip_space(head);
  if (!text.starts_with('{')) return false;
  text = skip_space(text.substr(1));
  for (const char* key : {"\"info\"", "\"licenses\"", "\"images\"", "\"annotations\"", "\"categories\""}) {
    if (!text.starts_with(key)) continue;
    std::string value = skip_space(text.substr(std::string_view(key).size()));
    if (!value.starts_with(':')) return false;
    value = skip_space(value.substr(1));
    const bool is_list = value.starts_with('[');
    if (is_list) value = skip_space(value.substr(1));
    return value.starts_with('{') || (is_list && value.starts_with(']'));
  }
  return false;
}

bool is_tar(std::string_view head) {
  return head.size() >= 512 && head.substr(257, 5) == "ustar";
}

std::string use(std::string_view what, std::string_view command) {
  return fmt::format("is {}: use `triptych ingest {}`.", what, command);
}

/// A separator that stands in the first line, which is no JSON.
bool has_in_first_line(std::string_view head, char separator) {
  const std::string_view line = head.substr(0, head.find('\n'));
  return !skip_space(line).starts_with('{') && !skip_space(line).starts_with('[') &&
         line.find(separator) != std::string_view::npos;
}

/// What a packed file needs; the name of what packs it.
std::string packed(std::string_view head) {
  const auto begins = [&](std::string_view magic) { return head.starts_with(magic); };
  if (begins("\x1F\x8B")) return "is compressed by gzip. Unpack it first: gunzip -k FILE.";
  if (begins("\x28\xB5\x2F\xFD")) return "is compressed by zstd. Unpack it first: unzstd FILE.";
  if (begins("BZh")) return "is compressed by bzip2. Unpack it first: bunzip2 -k FILE.";
  if (begins(std::string_view("\xFD\x37zXZ", 5))) return "is compressed by xz. Unpack it first: unxz -k FILE.";
  if (begins("PK\x03\x04")) return "is a zip archive. Unpack it first, and name the file of JSON lines in it.";
  return {};
}

}  // namespace

std::vector<fs::path> expand_inputs(const std::vector<std::string>& patterns) {
  std::vector<fs::path> paths;
  for (const std::string& pattern : patterns) {
    if (pattern.find("://") != std::string::npos || pattern.starts_with("pipe:")) {
      throw UserError(pattern, "is no local file. Fetch it first, and name the file.");
    }
    std::error_code ignored;
    std::vector<std::string> names;
    if (fs::exists(pattern, ignored)) {
      names.push_back(pattern);
    } else {
      expand_braces(pattern, names);
    }
    for (const std::string& name : names) expand_stars(name, paths);
  }
  if (paths.empty()) throw UserError("ingest", "no input is named. Name a file or a pattern.");
  if (paths.size() > kMaxInputs) throw UserError("ingest", fmt::format("at most {} inputs are taken.", kMaxInputs));
  std::set<fs::path> seen;
  for (const fs::path& path : paths) {
    if (!seen.insert(path.lexically_normal()).second) {
      throw UserError(path.string(), "is named twice, so its samples would be. Name it once.");
    }
  }
  return paths;
}

std::string other_format(std::string_view head, InputFormat wanted) {
  if (head.starts_with("\xEF\xBB\xBF")) head.remove_prefix(3);  // a byte order mark
  const bool is_text_wanted = wanted != InputFormat::kWebdataset && wanted != InputFormat::kParquet;
  if (wanted != InputFormat::kWebdataset) {
    if (is_tar(head)) return use("a tar archive, as webdataset makes them", "webdataset");
    const std::string packer = packed(head);
    if (!packer.empty()) return packer;
  }
  if (wanted != InputFormat::kParquet && head.starts_with("PAR1")) return use("a Parquet file", "parquet");
  if (head.starts_with("SQLite format 3")) return "is a database. Write its rows as JSON lines or as CSV first.";
  if (head.starts_with("\x89HDF\r\n\x1A\n")) {
    return "is an HDF5 file. A shard needs no ingest, only an index: use `triptych index` on its folder.";
  }
  if (is_text_wanted && (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF") ||
                         (head.size() >= 2 && (head[0] == '\0') != (head[1] == '\0')))) {
    return "is UTF-16, and text must be UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 IN > OUT.";
  }
  if (wanted != InputFormat::kCoco && is_coco(head)) {
    const bool captions = head.find("\"caption\"") != std::string_view::npos;
    const bool boxes = head.find("\"bbox\"") != std::string_view::npos;
    return use(captions ? "a COCO captions file" : boxes ? "a COCO instances file" : "a COCO annotations file", "coco");
  }
  const bool is_table_wanted = wanted == InputFormat::kCsv || wanted == InputFormat::kTsv;
  if (skip_space(head).starts_with('{') && (is_table_wanted || !is_text_wanted)) {
    return use("a file of JSON lines", "pairs --captions FILE");
  }
  if (wanted == InputFormat::kPairs || wanted == InputFormat::kCoco) {
    if (has_in_first_line(head, '\t')) return use("a table with tabs between its columns", "tsv");
    if (has_in_first_line(head, ',') && skip_space(head).find_first_of("{}'\"") > skip_space(head).find(',')) {
      return use("a table with commas between its columns", "csv");
    }
  }
  if (wanted == InputFormat::kCsv && has_in_first_line(head, '\t') && !has_in_first_line(head, ',')) {
    return use("a table with tabs between its columns", "tsv");
  }
  if (wanted == InputFormat::kTsv && has_in_first_line(head, ',') && !has_in_first_line(head, '\t')) {
    return use("a table with commas between its columns", "csv");
  }
  if (wanted == InputFormat::kWebdataset && !is_tar(head) && packed(head).empty() && !head.empty()) {
    return "is no tar archive. Name archives of samples, .tar or .tar.gz.";
  }
  if (wanted == InputFormat::kParquet && !head.starts_with("PAR1")) return "is no Parquet file.";
  return {};
}

void refuse_other_format(const fs::path& path, InputFormat wanted) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (wanted == InputFormat::kImageFolder) return;
    throw UserError(path.string(),
                    "is a folder. Name a file, or use `triptych ingest imagefolder` for a folder with a "
                    "folder of images for each class.");
  }
  if (wanted == InputFormat::kImageFolder) {
    throw UserError(path.string(), "is no folder. Name one that has a folder of images for each class.");
  }
  std::ifstream stream = open_input(path);
  std::string head(std::size_t{64} << 10, '\0');
  stream.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(stream.gcount()));
  const std::string other = other_format(head, wanted);
  if (!other.empty()) throw UserError(path.string(), other);
}

std::string sampled_hash(const fs::path& path) {
  constexpr uint64_t kWhole = uint64_t{4} << 20, kPieces = 64, kPiece = kWhole / kPieces;
  const File file = File::open_read(path);
  const uint64_t size = file.size();
  Hasher hasher;
  std::vector<std::byte> piece;
  for (uint64_t k = 0; k < kPieces && k * kPiece < size; ++k) {
    const uint64_t offset = size <= kWhole ? k * kPiece : (size - kPiece) / (kPieces - 1) * k;
    piece.resize(std::min(kPiece, size - offset));
    file.pread(piece, offset);
    hasher.update(piece);
  }
  return fmt::format("{}-{}", size, hasher.digest().hex());
}

std::string name_of_inputs(const std::vector<fs::path>& paths) {
  return paths.size() == 1 ? paths.front().string()
                           : fmt::format("{} and {} more", paths.front().string(), paths.size() - 1);
}

}  // namespace triptych::data
