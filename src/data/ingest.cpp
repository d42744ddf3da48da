#include "data/ingest.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/class_names.h"
#include "data/image_decoder.h"
#include "data/index_builder.h"
#include "data/index_file.h"
#include "data/pair_line.h"
#include "data/problems.h"
#include "data/shard_files.h"
#include "data/shard_format.h"
#include "data/shard_writer.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

// A sample's captions escaped as JSON, with room to spare; bounds the memory that one line takes.
constexpr std::size_t kMaxLineBytes = std::size_t{4} << 20;
constexpr uint64_t kMaxIgnoredKeys = 100;  // distinct ones that are named in the summary

/// Lines of a file, without ever holding more than one of at most kMaxLineBytes.
class LineReader {
 public:
  explicit LineReader(const fs::path& path) : buffer_(kMaxLineBytes + 1) {
    // Asked first, since opening a pipe would wait for its other end.
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) stream_.open(path, std::ios::binary);
    if (!stream_.is_open()) {
      throw UserError(path.string(), "is no file that can be read. Name a file of JSON lines with --captions.");
    }
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

/// The text of an error that was thrown with the rule alone.
std::string_view rule_of(const Error& error) {
  const std::string_view text = error.what();
  return text.starts_with("[line] ") ? text.substr(7) : text;
}

/// The folder that becomes `out` when it is complete. What a killed run left under the same name is cleared away.
class StagingFolder {
 public:
  explicit StagingFolder(const fs::path& out) : out_(out), path_(out.string() + ".partial") {
    check_replaceable(out_);
    clear(path_);
    try {
      fs::create_directories(path_);
    } catch (const fs::filesystem_error& error) {
      throw WorldError(path_.string(), fmt::format("cannot be created ({}).", error.code().message()));
    }
  }
  ~StagingFolder() {
    std::error_code ignored;
    if (!committed_) fs::remove_all(path_, ignored);
  }
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;

  const fs::path& path() const { return path_; }

  /// Puts the folder in the place of `out`. An older data set goes only after the new one is there.
  void commit() {
    sync_folder(path_);
    if (!replace()) {
      throw WorldError(out_.string(),
                       fmt::format("the finished data set cannot be renamed to it ({}).", describe_errno(errno)));
    }
    committed_ = true;
    sync_folder(out_.has_parent_path() ? out_.parent_path() : ".");
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

 private:
  /// rename(2) takes the place of nothing or of an empty folder; an older data set is exchanged in one step where the
  /// file system can, and moved aside first where it cannot. Afterwards `path_` holds what is to be removed, if
  /// anything.
  bool replace() const {
    if (::rename(path_.c_str(), out_.c_str()) == 0) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return false;
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    const std::string aside = out_.string() + ".replaced";
    return ::rename(out_.c_str(), aside.c_str()) == 0 && ::rename(path_.c_str(), out_.c_str()) == 0 &&
           ::rename(aside.c_str(), path_.c_str()) == 0;
  }

  /// Only what an ingest has made may be replaced: nothing, an empty folder, or a data set and nothing else.
  static void check_replaceable(const fs::path& folder) {
    std::error_code error;
    const fs::file_status status = fs::symlink_status(folder, error);
    if (status.type() == fs::file_type::not_found) return;
    if (status.type() != fs::file_type::directory) {
      throw UserError(folder.string(), "exists and is no folder. Choose another --out.");
    }
    bool any = false, has_index = false;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      any = true;
      has_index |= name == kIndexName;
      if (name != kIndexName && name != kIndexArraysName && name != kClassNamesFile && !is_shard_name(name)) {
        throw UserError(folder.string(),
                        fmt::format("holds {}, which no ingest has made, so it is not replaced. Remove the "
                                    "folder or choose another --out.",
                                    name));
      }
    }
    if (error) throw WorldError(folder.string(), fmt::format("cannot be listed ({}).", error.message()));
    if (any && !has_index) {
      throw UserError(folder.string(),
                      "holds shards without an index, so it is not replaced. Run `triptych index` on it, "
                      "remove it, or choose another --out.");
    }
  }

  static bool is_shard_name(const std::string& name) { return name.starts_with("shard_") && name.ends_with(".h5"); }

  static void clear(const fs::path& folder) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      // Unfinished files have the number of a process at the end.
      if (!name.starts_with("shard_") && !name.starts_with("index.") && !name.starts_with(kClassNamesFile)) {
        throw UserError(folder.string(),
                        fmt::format("is where the data set is made, but holds {}. Remove that folder.", name));
      }
    }
    fs::remove_all(folder, error);
  }

  fs::path out_, path_;
  bool committed_ = false;
};

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
    std::string_view text;
    bool too_long = false;
    while (lines_.next(text, too_long)) {
      if (text.empty() && !too_long) continue;
      try {
        if (too_long) throw UserError("line", fmt::format("is longer than {} bytes", kMaxLineBytes));
        take(parse_pair_line(text));
      } catch (const UserError& error) {
        problems_.add(fmt::format("line {}: {}", lines_.number(), rule_of(error)));
        writer_.reset();  // nothing is kept, but the rest is still checked
      }
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
    summary_.data_set_id = data_set_id_;
    return std::move(summary_);
  }

 private:
  void take(const PairLine& line) {
    for (const std::string& key : line.ignored_keys) {
      if (summary_.ignored_keys.size() < kMaxIgnoredKeys || summary_.ignored_keys.contains(key))
        ++summary_.ignored_keys[key];
    }
    const uint64_t id = line.id.value_or(lines_.number());
    const auto [known, is_new] = ids_.try_emplace(id, lines_.number());
    if (!is_new) {
      throw UserError("line", fmt::format("the id {} was already that of line {}{}", id, known->second,
                                          line.id ? "" : "; a line without 'id' has its number as id"));
    }
    if (line.label && !classes_.empty() && static_cast<uint64_t>(*line.label) >= classes_.size()) {
      throw UserError("line", fmt::format("the label {} names none of the {} classes of {}, which are counted from 0",
                                          *line.label, classes_.size(), options_.classes.string()));
    }
    image_.clear();
    if (!line.image.empty()) images_.read(line.image, image_);
    if (options_.progress) options_.progress(ids_.size());
    if (!problems_.empty()) return;

    const std::vector<std::string_view> captions(line.captions.begin(), line.captions.end());
    if (writer_ && (writer_->num_samples() == options_.samples_per_shard || !writer_->has_room(image_.size())))
      close_shard();
    if (!writer_) writer_.emplace(staging_.path() / shard_file_name(num_shards_), data_set_id_);
    writer_->add({id, image_, captions, line.label});
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
  std::vector<std::byte> image_;
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
