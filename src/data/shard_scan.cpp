#include "data/shard_scan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/checked.h"
#include "base/text.h"
#include "data/annotation_rules.h"
#include "data/caption_text.h"
#include "data/image_decoder.h"
#include "data/shard_layout.h"

namespace triptych::data {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read from the file as they are");

constexpr std::string_view kRemedy = "Write the shard as docs/shard-format.md says";

template <typename T>
std::vector<T> read_array(const File& file, const ArrayPlace& place) {
  std::vector<T> values(place.bytes / sizeof(T));
  file.pread(std::as_writable_bytes(std::span(values)), place.offset);
  return values;
}

/// Offsets begin with 0, never descend and end with the length of what they divide.
void check_offsets(const std::filesystem::path& path, std::string_view name, const std::vector<uint64_t>& offsets,
                   std::string_view what, uint64_t length) {
  const auto refuse = [&](const std::string& rule) {
    throw UserError(path.string(), fmt::format("'{}' {}. {}.", name, rule, kRemedy));
  };
  if (offsets.front() != 0) refuse(fmt::format("must begin with 0, found {}", offsets.front()));
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      refuse(fmt::format("must not descend, found {} before {} at element {}", offsets[i - 1], offsets[i], i));
    }
  }
  if (offsets.back() != length) refuse(fmt::format("must end with {}, {}, found {}", what, length, offsets.back()));
}

class Scanner {
 public:
  Scanner(const std::filesystem::path& path, Problems& problems) : path_(path), problems_(problems) {
    ShardHeader header = read_shard_header(path);
    layout_ = header.layout;
    scan_.data_set_id = std::move(header.data_set_id);
    file_.emplace(File::open_read(path));
  }

  ShardScan run() {
    image_offsets_ = read_array<uint64_t>(*file_, layout_.image_offsets);
    caption_first_ = read_array<uint64_t>(*file_, layout_.caption_first);
    caption_offsets_ = read_array<uint64_t>(*file_, layout_.caption_offsets);
    ids_ = read_array<uint64_t>(*file_, layout_.ids);
    scan_.labels = read_array<int64_t>(*file_, layout_.labels);
    check_offsets(path_, "images/offsets", image_offsets_, "the length of images/bytes", layout_.image_bytes.bytes);
    check_offsets(path_, "captions/offsets", caption_offsets_, "the length of captions/bytes",
                  layout_.caption_bytes.bytes);
    check_offsets(path_, "captions/first", caption_first_, "the number of captions", layout_.num_captions);

    read_roles();
    read_boxes();
    for (uint64_t c = 0; c < layout_.num_captions; ++c) {
      // A longer one is reported with its sample; the index that would hold it is then never written.
      scan_.caption_bytes.push_back(
          static_cast<uint32_t>(std::min(caption_offsets_[c + 1] - caption_offsets_[c], kMaxCaptionBytes + 1)));
    }
    scan_.records.reserve(layout_.num_samples);
    for (uint64_t i = 0; i < layout_.num_samples; ++i) scan_sample(i);

    scan_.shard.file = path_.filename().string();
    scan_.shard.bytes = file_->size();
    scan_.shard.layout = layout_;
    scan_.shard.metadata_hash = hash_metadata(*file_, scan_.shard.bytes, layout_);
    return std::move(scan_);
  }

 private:
  void add_problem(uint64_t sample, std::string_view rule) {
    problems_.add(fmt::format("{} sample {} (id {}): {}", path_.filename().string(), sample, ids_[sample], rule));
  }

  void read_roles() {
    for (const uint8_t byte : read_array<uint8_t>(*file_, layout_.roles)) {
      const std::optional<TextRole> role = text_role_of(byte);
      if (!role) {
        throw UserError(path_.string(), fmt::format("'captions/roles' must be 0 to {}, found {} at element {}. {}.",
                                                    kNumTextRoles - 1, byte, scan_.roles.size(), kRemedy));
      }
      scan_.roles.push_back(*role);
    }
  }

  void read_boxes() {
    if (!layout_.has_boxes) return;
    scan_.box_first = read_array<uint64_t>(*file_, layout_.box_first);
    check_offsets(path_, "boxes/first", scan_.box_first, "the number of boxes", layout_.num_boxes);
    const std::vector<int32_t> corners = read_array<int32_t>(*file_, layout_.box_corners);
    const std::vector<int64_t> classes = read_array<int64_t>(*file_, layout_.box_classes);
    const std::vector<int32_t> phrases = read_array<int32_t>(*file_, layout_.box_phrases);
    for (std::size_t k = 0; k < classes.size(); ++k) {
      if (classes[k] < kNoLabel || classes[k] > std::numeric_limits<int32_t>::max()) {
        throw UserError(path_.string(),
                        fmt::format("'boxes/classes' must be {} to {}, found {} at element {}. {}.", kNoLabel,
                                    std::numeric_limits<int32_t>::max(), classes[k], k, kRemedy));
      }
      scan_.boxes.push_back({corners[4 * k], corners[4 * k + 1], corners[4 * k + 2], corners[4 * k + 3],
                             static_cast<int32_t>(classes[k]), phrases[k]});
    }
  }

  void scan_sample(uint64_t i) {
    IndexRecord record;
    record.id = ids_[i];
    const std::optional<ImageInfo> image = scan_image(i, record);
    scan_captions(i, record);
    scan_annotations(i, image, record);
    if (record.image_bytes == 0 && record.num_captions == 0) add_problem(i, "has neither image nor captions");
    if (!scan_.labels.empty() && scan_.labels[i] < kNoLabel) {
      add_problem(i, fmt::format("the label {} is less than {}", scan_.labels[i], kNoLabel));
    }
    scan_.records.push_back(record);
  }

  void scan_annotations(uint64_t i, const std::optional<ImageInfo>& image, IndexRecord& record) {
    const auto add_fault = [&](const std::string& fault) {
      if (!fault.empty()) add_problem(i, fault);
    };
    std::span<const TextRole> roles;
    if (!scan_.roles.empty()) roles = std::span(scan_.roles).subspan(record.first_caption, record.num_captions);
    add_fault(fault_of_roles(roles));
    if (scan_.box_first.empty() || (record.image_bytes != 0 && !image)) return;  // an image that is a problem already
    const uint64_t first = scan_.box_first[i];
    const std::span<const BoxRecord> boxes = std::span(scan_.boxes).subspan(first, scan_.box_first[i + 1] - first);
    add_fault(fault_of_boxes(boxes, image ? image->seen_width() : 0, image ? image->seen_height() : 0, roles));
    record.is_turned = !boxes.empty() && image && image->seen_width() != image->width;
  }

  /// What its header says; nothing if it has none, or one that is a problem.
  std::optional<ImageInfo> scan_image(uint64_t i, IndexRecord& record) {
    const uint64_t bytes = image_offsets_[i + 1] - image_offsets_[i];
    record.image_offset = bytes == 0 ? 0 : layout_.image_bytes.offset + image_offsets_[i];
    if (bytes > kMaxImageBytes) {
      add_problem(i, fmt::format("its image has {} bytes, at most {} are allowed", bytes, kMaxImageBytes));
      return std::nullopt;
    }
    record.image_bytes = static_cast<uint32_t>(bytes);
    buffer_.resize(bytes);
    file_->pread(buffer_, record.image_offset);
    record.image_checksum = hash64(buffer_);
    if (bytes == 0) return std::nullopt;
    try {
      const ImageInfo info = probe_image(buffer_);
      record.width = info.width;
      record.height = info.height;
      record.image_format = static_cast<uint16_t>(static_cast<uint16_t>(info.format) + 1);
      return info;
    } catch (const WorldError& error) {
      add_problem(i, error.what());
      return std::nullopt;
    }
  }

  void scan_captions(uint64_t i, IndexRecord& record) {
    const uint64_t begin = caption_first_[i], end = caption_first_[i + 1];
    if (end - begin > kMaxCaptionsPerSample) {
      add_problem(i, fmt::format("has {} captions, at most {} are allowed", end - begin, kMaxCaptionsPerSample));
      return;
    }
    for (uint64_t c = begin; c < end; ++c) {
      if (scan_.caption_bytes[c] > kMaxCaptionBytes) {
        add_problem(i, fmt::format("caption {} has {} bytes, at most {} are allowed", c - begin,
                                   caption_offsets_[c + 1] - caption_offsets_[c], kMaxCaptionBytes));
        return;
      }
    }
    record.first_caption = static_cast<uint32_t>(begin);
    record.num_captions = static_cast<uint32_t>(end - begin);
    const uint64_t bytes = caption_offsets_[end] - caption_offsets_[begin];
    record.captions_offset = bytes == 0 ? 0 : layout_.caption_bytes.offset + caption_offsets_[begin];
    buffer_.resize(bytes);
    file_->pread(buffer_, record.captions_offset);
    record.caption_checksum = hash64(buffer_);
    std::string_view rest(reinterpret_cast<const char*>(buffer_.data()), buffer_.size());
    for (uint64_t c = begin; c < end; ++c) {
      const std::string_view caption = rest.substr(0, scan_.caption_bytes[c]);
      rest.remove_prefix(caption.size());
      if (caption.empty()) add_problem(i, fmt::format("caption {} is empty; leave it out", c - begin));
      if (!is_utf8(caption)) {
        add_problem(i, fmt::format("caption {} is not UTF-8", c - begin));
      } else if (!caption.empty() && !has_visible_text(caption)) {
        add_problem(i, fmt::format("caption {} has no text, only {}, of which no token is left; leave it out",
                                   c - begin, code_points(caption)));
      }
    }
  }

  const std::filesystem::path& path_;
  Problems& problems_;
  ShardLayout layout_;
  ShardScan scan_;
  std::optional<File> file_;
  std::vector<uint64_t> image_offsets_, caption_first_, caption_offsets_, ids_;
  std::vector<std::byte> buffer_;
};

}  // namespace

Hash128 hash_metadata(const File& file, uint64_t file_bytes, const ShardLayout& layout) {
  std::array<ArrayPlace, 3> stops{layout.image_bytes, layout.caption_bytes, ArrayPlace{file_bytes, 0}};
  std::sort(stops.begin(), stops.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  std::vector<std::byte> buffer;
  Hasher hasher;
  uint64_t at = 0;
  for (const ArrayPlace& stop : stops) {
    while (at < stop.offset) {
      buffer.resize(std::min(kPiece, stop.offset - at));
      file.pread(buffer, at);
      hasher.update(buffer);
      at += buffer.size();
    }
    at += stop.bytes;
  }
  return hasher.digest();
}

ShardScan scan_shard(const std::filesystem::path& path, Problems& problems) {
  return Scanner(path, problems).run();
}

}  // namespace triptych::data
