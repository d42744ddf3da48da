#include "data/ingest.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/annotation_rules.h"
#include "data/class_names.h"
#include "data/image_decoder.h"
#include "data/image_metadata.h"
#include "data/index_builder.h"
#include "data/pair_line.h"
#include "data/parallel_for.h"
#include "data/problems.h"
#include "data/shard_format.h"
#include "data/shard_writer.h"
#include "data/staging_folder.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

// A sample's captions escaped as JSON, with room to spare; bounds the memory that one line takes.
constexpr std::size_t kMaxLineBytes = std::size_t{4} << 20;
constexpr uint64_t kMaxNamed = 100;  // distinct ignored keys, and remarks, in the summary

/// What a file is that holds no JSON lines, by its first bytes, and the remedy; empty if it may hold some.
std::string other_format(std::string_view head) {
  const auto begins = [&](std::string_view magic) { return head.starts_with(magic); };
  if (begins("\xFF\xFE") || begins("\xFE\xFF") || (head.size() >= 2 && (head[0] == '\0') != (head[1] == '\0'))) {
    return "is UTF-16, and lines must be UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 IN > OUT.";
  }
  if (begins("\x1F\x8B")) return "is compressed by gzip. Unpack it first: gunzip -k FILE.";
  if (begins("\x28\xB5\x2F\xFD")) return "is compressed by zstd. Unpack it first: unzstd FILE.";
  if (begins("BZh")) return "is compressed by bzip2. Unpack it first: bunzip2 -k FILE.";
  if (begins("\xFD"
             "7zXZ"))
    return "is compressed by xz. Unpack it first: unxz -k FILE.";
  if (begins("PK\x03\x04")) return "is a zip archive. Unpack it first, and name the file of JSON lines in it.";
  if (begins("PAR1")) return "is a Parquet file. Write its rows as JSON lines first.";
  if (begins("SQLite format 3")) return "is a database. Write its rows as JSON lines first.";
  return {};
}

/// Lines of a file, without ever holding more than one of at most kMaxLineBytes.
class LineReader {
 public:
  explicit LineReader(const fs::path& path) : buffer_(kMaxLineBytes + 1) {
    // Asked first, since opening a pipe would wait for its other end.
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) stream_.open(path, std::ios::binary);
    if (!stream_.is_open()) {
      throw UserError(path.string(),
                      "is no file that can be read. Name a file of JSON lines with --captions; it is "
                      "read twice, so it cannot be a pipe.");
    }
    std::array<char, 16> head{};
    stream_.read(head.data(), head.size());
    const std::string other = other_format({head.data(), static_cast<std::size_t>(stream_.gcount())});
    if (!other.empty()) throw UserError(path.string(), other);
    stream_.clear();
    stream_.seekg(0);
  }

  /// False at the end. `too_long`: the line was skipped.
  bool next(std::string_view& line, bool& too_long) {
    too_long = false;
    stream_.getline(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    std::size_t bytes = static_cast<std::size_t>(stream_.gcount());
    if (stream_.bad()) throw WorldError("captions", "the file cannot be read to its end.");
    if (stream_.fail()) {
      if (stream_.eof() || bytes == 0) return false;
      too_long = true;
      stream_.clear();
      stream_.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    } else if (!stream_.eof()) {
      --bytes;  // the newline is counted but not stored
    }
    ++number_;
    if (bytes > 0 && buffer_[bytes - 1] == '\r') --bytes;
    line = std::string_view(buffer_.data(), bytes);
    return true;
  }

  uint64_t number() const { return number_; }

 private:
  std::ifstream stream_;
  std::vector<char> buffer_;
  uint64_t number_ = 0;
};

/// The images' folder: reads files below it and nothing else.
class ImageFolder {
 public:
  explicit ImageFolder(const fs::path& folder) : folder_(folder) {
    if (folder.empty()) return;
    std::error_code error;
    root_ = fs::canonical(folder, error);
    if (error || !fs::is_directory(root_, error))
      throw UserError(folder.string(), "is no folder. Name one with --images.");
  }

  /// Throws UserError with the rule alone.
  void read(const std::string& name, std::vector<std::byte>& bytes) const {
    if (folder_.empty())
      refuse(fmt::format("names the image '{}', but no folder of images was given (--images)", name));
    const fs::path relative(name);
    if (name.find('\0') != std::string::npos) refuse("the image's name has a zero byte");
    if (relative.is_absolute() || std::find(relative.begin(), relative.end(), "..") != relative.end()) {
      refuse(fmt::format("the image '{}' must be a name relative to {}, without '..'", name, folder_.string()));
    }
    std::error_code error;
    const fs::path path = fs::canonical(root_ / relative, error);
    if (error) refuse(fmt::format("the image {} cannot be found ({})", (folder_ / relative).string(), error.message()));
    if (std::mismatch(root_.begin(), root_.end(), path.begin(), path.end()).first != root_.end()) {
      refuse(fmt::format("the image '{}' is a link that leads out of {}", name, folder_.string()));
    }
    if (!fs::is_regular_file(path, error)) refuse(fmt::format("the image {} is not a regular file", path.string()));
    try {
      const File file = File::open_read(path);
      const uint64_t size = file.size();
      if (size == 0) refuse(fmt::format("the image '{}' is an empty file", name));
      if (size > kMaxImageBytes) {
        refuse(fmt::format("the image '{}' has {} bytes, at most {} are allowed", name, size, kMaxImageBytes));
      }
      bytes.resize(size);
      file.pread(bytes, 0);
      probe_image(bytes);
    } catch (const WorldError& world) {
      refuse(fmt::format("the image '{}': {}", name, world.what()));
    }
  }

 private:
  [[noreturn]] static void refuse(const std::string& rule) { throw UserError("line", rule); }

  fs::path folder_, root_;
};

/// A line on its way into a shard.
struct Item {
  uint64_t number = 0;  // of the line
  PairLine line;
  std::vector<std::byte> image;
  std::string problem;  // of the image
  std::vector<std::string> remarks;
};

/// The text of an error that was thrown with the rule alone.
std::string_view rule_of(const Error& error) {
  const std::string_view text = error.what();
  return text.starts_with("[line] ") ? text.substr(7) : text;
}

/// The same input gives the same id, in the form of a UUID of version 8 (RFC 9562: custom contents).
std::string make_data_set_id(const IngestOptions& options) {
  const std::string text = fmt::format("{} {}", hash_file(options.captions).hex(), options.samples_per_shard);
  std::string hex = hash128(std::as_bytes(std::span(text))).hex();
  hex[12] = '8';
  hex[16] = "89ab"[static_cast<unsigned>(hex[16]) % 4];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20));
}

class Ingest {
 public:
  explicit Ingest(const IngestOptions& options)
      : options_(options),
        images_(options.images),
        lines_(options.captions),
        classes_(options.classes.empty() ? std::vector<std::string>() : read_class_names_file(options.classes)),
        staging_(options.out),
        data_set_id_(make_data_set_id(options)) {}

  IngestSummary run() {
    // Several at a time where they are worth several threads; an image may have 64 MiB.
    std::vector<Item> items(options_.decode ? 2 * static_cast<std::size_t>(options_.threads) : 1);
    for (bool more = true; more;) {
      std::size_t count = 0;
      while (count < items.size() && (more = next_line(items[count]))) ++count;
      parallel_for(options_.threads, count, [&](uint64_t i) { read_image(items[i]); });
      for (std::size_t i = 0; i < count; ++i) check(items[i].number, [&] { take(items[i]); });
    }
    if (!problems_.empty()) {
      throw UserError(options_.captions.string(),
                      fmt::format("has {}\nNothing was written. Mend or remove these lines.", problems_.text()));
    }
    if (ids_.empty()) throw UserError(options_.captions.string(), "has no line, so there is nothing to pack.");
    close_shard();
    const IndexSummary index = build_index(staging_.path());
    TRIPTYCH_CHECK(index.num_samples == ids_.size(), "packed {} samples, found {}", ids_.size(), index.num_samples);
    if (!classes_.empty())
      write_file_atomically(staging_.path() / kClassNamesFile, fmt::format("{}\n", fmt::join(classes_, "\n")));
    staging_.commit();
    summary_.num_shards = index.num_shards;
    summary_.num_samples = index.num_samples;
    summary_.num_captions = index.num_captions;
    summary_.num_images = index.num_images;
    summary_.num_boxes = index.num_boxes;
    summary_.data_set_id = data_set_id_;
    summary_.kept = staging_.kept();
    return std::move(summary_);
  }

 private:
  /// Runs what may refuse a line, and keeps its words.
  template <typename Work>
  bool check(uint64_t line, const Work& work) {
    try {
      work();
      return true;
    } catch (const UserError& error) {
      problems_.add(fmt::format("line {}: {}", line, rule_of(error)));
      writer_.reset();  // nothing is kept, but the rest is still checked
      return false;
    }
  }

  /// The next line that has a sample; false at the end.
  bool next_line(Item& item) {
    std::string_view text;
    bool too_long = false;
    while (lines_.next(text, too_long)) {
      if (!too_long && text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      item.number = lines_.number();
      const bool is_sound = check(item.number, [&] {
        if (too_long) throw UserError("line", fmt::format("is longer than {} bytes", kMaxLineBytes));
        item.line = parse_pair_line(text);
      });
      if (is_sound) return true;
    }
    return false;
  }

  /// On any thread.
  void read_image(Item& item) const {
    item.image.clear();
    item.problem.clear();
    item.remarks.clear();
    if (item.line.image.empty()) return;
    try {
      images_.read(item.line.image, item.image);
      if (options_.decode) decode_image(item.image);
      item.remarks = image_remarks(item.image);
    } catch (const UserError& error) {
      item.problem = rule_of(error);
    } catch (const WorldError& error) {
      item.problem = fmt::format("the image '{}': {}", item.line.image, error.what());
    }
  }

  void take(Item& item) {
    const PairLine& line = item.line;
    for (const std::string& key : line.ignored_keys) {
      if (summary_.ignored_keys.size() < kMaxNamed || summary_.ignored_keys.contains(key)) ++summary_.ignored_keys[key];
    }
    const uint64_t id = line.id.value_or(item.number);
    const auto [known, is_new] = ids_.try_emplace(id, item.number);
    if (!is_new) {
      throw UserError("line", fmt::format("the id {} was already that of line {}{}", id, known->second,
                                          line.id ? "" : "; a line without 'id' has its number as id"));
    }
    if (line.label && !classes_.empty() && static_cast<uint64_t>(*line.label) >= classes_.size()) {
      throw UserError("line", fmt::format("the label {} names none of the {} classes of {}, which are counted from 0",
                                          *line.label, classes_.size(), options_.classes.string()));
    }
    for (const BoxRecord& box : line.boxes) {
      if (classes_.empty() || box.class_number < static_cast<int64_t>(classes_.size())) continue;
      throw UserError("line",
                      fmt::format("a box's class {} names none of the {} classes of {}, which are counted from 0",
                                  box.class_number, classes_.size(), options_.classes.string()));
    }
    if (!item.problem.empty()) throw UserError("line", item.problem);
    check_boxes(item);
    for (const std::string& remark : item.remarks) {
      if (summary_.remarks.size() == kMaxNamed && !summary_.remarks.contains(remark)) continue;
      IngestRemark& known_remark = summary_.remarks[remark];
      if (known_remark.count++ == 0) known_remark.first_line = item.number;
    }
    if (options_.progress) options_.progress(ids_.size());
    if (!problems_.empty()) return;

    const std::vector<std::string_view> texts(line.texts.begin(), line.texts.end());
    if (writer_ && (writer_->num_samples() == options_.samples_per_shard || !writer_->has_room(item.image.size())))
      close_shard();
    if (!writer_) writer_.emplace(staging_.path() / shard_file_name(num_shards_), data_set_id_);
    writer_->add({.id = id,
                  .image = item.image,
                  .captions = texts,
                  .label = line.label,
                  .roles = line.roles,
                  .boxes = line.boxes});
  }

  /// Whether they lie in the image, which is sound.
  static void check_boxes(const Item& item) {
    if (item.line.boxes.empty()) return;
    const ImageInfo info = probe_image(item.image);
    const std::string fault = fault_of_boxes(item.line.boxes, info.seen_width(), info.seen_height(), item.line.roles);
    if (!fault.empty()) throw UserError("line", fault);
  }

  void close_shard() {
    writer_->close();
    writer_.reset();
    ++num_shards_;
    if (num_shards_ > kMaxShards) {
      throw UserError(options_.out.string(),
                      fmt::format("would have more than {} shards. Raise --samples-per-shard.", kMaxShards));
    }
  }

  const IngestOptions& options_;
  ImageFolder images_;
  LineReader lines_;
  std::vector<std::string> classes_;
  StagingFolder staging_;
  std::string data_set_id_;
  Problems problems_;
  IngestSummary summary_;
  std::optional<ShardWriter> writer_;
  uint64_t num_shards_ = 0;
  std::unordered_map<uint64_t, uint64_t> ids_;  // to the line that has it
};

}  // namespace

IngestSummary ingest_pairs(const IngestOptions& options) {
  if (options.samples_per_shard < 1 || options.samples_per_shard > kMaxSamplesPerShard) {
    throw UserError("ingest", fmt::format("--samples-per-shard must be 1 to {}, found {}.", kMaxSamplesPerShard,
                                          options.samples_per_shard));
  }
  if (options.out.empty()) throw UserError("ingest", "--out must name a folder.");
  // Without a slash at the end, and a link to a folder stands for the folder, so that names can be put beside it.
  IngestOptions normal = options;
  normal.out = options.out.lexically_normal();
  if (!normal.out.has_filename()) normal.out = normal.out.parent_path();
  std::error_code ignored, error;
  if (fs::is_symlink(normal.out, ignored)) normal.out = fs::canonical(normal.out, error);
  if (error || normal.out.empty() || normal.out == "." || normal.out.filename() == "..") {
    throw UserError(options.out.string(), "cannot be the data set's folder. Name a folder of its own with --out.");
  }
  return Ingest(normal).run();
}

}  // namespace triptych::data
