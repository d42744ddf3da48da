#include "data/index_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <span>
#include <type_traits>

#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/file.h"
#include "data/annotation_rules.h"
#include "data/image_decoder.h"

namespace triptych::data {
namespace {

using Json = nlohmann::ordered_json;
static_assert(std::endian::native == std::endian::little, "index.bin is written from memory as it is");

constexpr std::string_view kIndexFormat = "triptych-index";
constexpr uint64_t kIndexVersion = 1;
constexpr uint64_t kAnnotatedIndexVersion = 2;         // has roles or boxes
constexpr uint64_t kMaxJsonBytes = kMaxShards * 2000;  // a shard's entry has about 1300 bytes
constexpr uint64_t kMaxSamples = uint64_t{1} << 40;    // and boxes; keeps the sizes below from wrapping
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxFileNameBytes = 255;  // of Linux

/// The first bytes of index.bin.
struct ArraysHeader {
  std::array<char, 8> magic{'T', 'R', 'I', 'P', 'T', 'I', 'D', 'X'};
  uint64_t version = kIndexVersion;
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;
  uint64_t has_labels = 0;
  uint64_t has_roles = 0;
  uint64_t num_boxes = 0;
  uint64_t reserved = 0;
  bool operator==(const ArraysHeader&) const = default;
};
static_assert(sizeof(ArraysHeader) == 64 && std::is_trivially_copyable_v<ArraysHeader>);

/// What index.bin has, as index.json states it.
ArraysHeader header_of(uint64_t num_samples, uint64_t num_captions, bool has_labels, bool has_roles,
                       uint64_t num_boxes) {
  ArraysHeader header;
  header.version = has_roles || num_boxes != 0 ? kAnnotatedIndexVersion : kIndexVersion;
  header.num_samples = num_samples;
  header.num_captions = num_captions;
  header.has_labels = has_labels;
  header.has_roles = has_roles;
  header.num_boxes = num_boxes;
  return header;
}

std::string remedy(const std::filesystem::path& dir) {
  return fmt::format("Run `triptych index {}` to make it again", dir.string());
}

Json place_json(const ArrayPlace& place) {
  return {place.offset, place.bytes};
}

Json shard_json(const IndexedShard& shard) {
  const ShardLayout& layout = shard.layout;
  Json arrays;
  arrays["images/bytes"] = place_json(layout.image_bytes);
  arrays["images/offsets"] = place_json(layout.image_offsets);
  arrays["captions/bytes"] = place_json(layout.caption_bytes);
  arrays["captions/offsets"] = place_json(layout.caption_offsets);
  arrays["captions/first"] = place_json(layout.caption_first);
  arrays["samples/ids"] = place_json(layout.ids);
  if (layout.has_labels) arrays["samples/labels"] = place_json(layout.labels);
  if (layout.has_roles) arrays["captions/roles"] = place_json(layout.roles);
  if (layout.has_boxes) {
    arrays["boxes/first"] = place_json(layout.box_first);
    arrays["boxes/corners"] = place_json(layout.box_corners);
    arrays["boxes/classes"] = place_json(layout.box_classes);
    arrays["boxes/phrases"] = place_json(layout.box_phrases);
  }
  Json json;
  json["file"] = shard.file;
  json["bytes"] = shard.bytes;
  json["num_samples"] = layout.num_samples;
  json["num_captions"] = layout.num_captions;
  if (layout.has_boxes) json["num_boxes"] = layout.num_boxes;
  json["metadata_xxh3_128"] = shard.metadata_hash.hex();
  json["arrays"] = std::move(arrays);
  return json;
}

/// Of the text without its own entry.
std::string checksum_of(const Json& json) {
  const std::string text = json.dump();
  return hash128(std::as_bytes(std::span(text))).hex();
}

/// Reads index.json; every fault is a WorldError that names the file.
class IndexReader {
 public:
  explicit IndexReader(const std::filesystem::path& dir) : dir_(dir), json_path_(dir / kIndexName) {}

  DatasetIndex read() {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(json_path_, ignored)) {
      throw UserError(dir_.string(),
                      fmt::format("is no indexed data set: it has no {}. If its shards come from elsewhere, "
                                  "run `triptych index {}`; to make one from files, `triptych ingest`.",
                                  kIndexName, dir_.string()));
    }
    const std::string text = read_text_file(json_path_, kMaxJsonBytes);
    try {
      // Our own nests five levels; without a bound the stack would be the bound when it is written for its checksum.
      parse(Json::parse(text, [&](int depth, Json::parse_event_t, const Json&) {
        if (depth > kMaxDepth) refuse(fmt::format("must nest at most {} levels, found more", kMaxDepth));
        return true;
      }));
    } catch (const Json::exception& error) {
      refuse(fmt::format("cannot be read as JSON of the expected form ({})", std::string(error.what()).substr(0, 200)));
    }
    read_arrays();
    check_records();
    return std::move(index_);
  }

 private:
  [[noreturn]] void refuse(std::string_view rule) const {
    throw WorldError(json_path_.string(), fmt::format("{}. It is damaged. {}.", rule, remedy(dir_)));
  }

  uint64_t number(const Json& json, const char* key) const {
    const Json& value = json.at(key);
    if (!value.is_number_unsigned()) refuse(fmt::format("'{}' must be a number, not negative", key));
    return value.get<uint64_t>();
  }

  Hash128 hash(const Json& json, const char* key) const {
    const std::string text = json.at(key).get<std::string>();
    Hash128 value;
    const auto word = [&](std::size_t begin, uint64_t& out) {
      const char* end = text.data() + begin + 16;
      const auto result = std::from_chars(text.data() + begin, end, out, 16);
      return result.ec == std::errc() && result.ptr == end;
    };
    if (text.size() != 32 || !word(0, value.high) || !word(16, value.low)) {
      refuse(fmt::format("'{}' must be 32 hexadecimal digits", key));
    }
    return value;
  }

  void parse(Json json) {
    if (json.at("format").get<std::string>() != kIndexFormat)
      refuse(fmt::format("'format' must be '{}'", kIndexFormat));
    const uint64_t version = number(json, "version");
    if (version != kIndexVersion && version != kAnnotatedIndexVersion) {
      throw WorldError(json_path_.string(), fmt::format("version {} is not known, only {} and {} are. {}.", version,
                                                        kIndexVersion, kAnnotatedIndexVersion, remedy(dir_)));
    }
    const std::string checksum = json.at("checksum").get<std::string>();
    json.erase("checksum");
    if (checksum != checksum_of(json)) refuse("its checksum does not match its contents");

    index_.data_set_id = json.at("data_set_id").get<std::string>();
    if (!is_data_set_id(index_.data_set_id)) refuse("'data_set_id' is none");
    const bool is_annotated = version == kAnnotatedIndexVersion;
    wanted_ = header_of(number(json, "num_samples"), number(json, "num_captions"), json.at("has_labels").get<bool>(),
                        is_annotated && json.at("has_roles").get<bool>(), is_annotated ? number(json, "num_boxes") : 0);
    if (wanted_.version != version) refuse("'version' must be 2 with roles or boxes, and 1 without");
    const Json& arrays = json.at("arrays");
    arrays_bytes_ = number(arrays, "bytes");
    arrays_hash_ = hash(arrays, "xxh3_128");
    const Json& shards = json.at("shards");
    if (!shards.is_array() || shards.size() > kMaxShards)
      refuse(fmt::format("'shards' must list at most {}", kMaxShards));
    uint64_t samples = 0, captions = 0, boxes = 0;
    for (const Json& entry : shards) {
      index_.shards.push_back(shard(entry));
      samples += index_.shards.back().layout.num_samples;  // each at most 2^31, of 10^5 shards
      captions += index_.shards.back().layout.num_captions;
      boxes += index_.shards.back().layout.num_boxes;
    }
    if (samples != wanted_.num_samples || captions != wanted_.num_captions || boxes != wanted_.num_boxes ||
        samples > kMaxSamples || captions > kMaxSamples || boxes > kMaxSamples) {
      refuse(
          fmt::format("the shards' counts, {} samples, {} captions and {} boxes, must add up to the totals, {}, {} "
                      "and {}",
                      samples, captions, boxes, wanted_.num_samples, wanted_.num_captions, wanted_.num_boxes));
    }
  }

  IndexedShard shard(const Json& json) const {
    IndexedShard shard;
    shard.file = json.at("file").get<std::string>();
    const std::filesystem::path name(shard.file);
    if (!name.has_filename() || name.filename() != name || shard.file == "." || shard.file == ".." ||
        shard.file.size() > kMaxFileNameBytes || shard.file.find('\0') != std::string::npos) {
      refuse("a shard's 'file' must be a plain name in this folder");
    }
    shard.bytes = number(json, "bytes");
    shard.metadata_hash = hash(json, "metadata_xxh3_128");
    ShardLayout& layout = shard.layout;
    layout.num_samples = number(json, "num_samples");
    layout.num_captions = number(json, "num_captions");
    const Json& arrays = json.at("arrays");
    layout.has_labels = arrays.contains("samples/labels");
    layout.has_roles = arrays.contains("captions/roles");
    layout.has_boxes = arrays.contains("boxes/first");
    if (layout.has_boxes) layout.num_boxes = number(json, "num_boxes");
    if (std::max({layout.num_samples, layout.num_captions, layout.num_boxes}) > kMaxSamplesPerShard) {
      refuse(fmt::format("a shard may have {} samples, captions and boxes", kMaxSamplesPerShard));
    }
    const auto place = [&](const char* key) {
      const Json& pair = arrays.at(key);
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned()) {
        refuse(fmt::format("'{}' must be [offset, bytes]", key));
      }
      const ArrayPlace found{pair[0].get<uint64_t>(), pair[1].get<uint64_t>()};
      if (found.bytes > shard.bytes || found.offset > shard.bytes - found.bytes) {
        refuse(fmt::format("'{}' does not lie in {}", key, shard.file));
      }
      return found;
    };
    layout.image_bytes = place("images/bytes");
    layout.image_offsets = place("images/offsets");
    layout.caption_bytes = place("captions/bytes");
    layout.caption_offsets = place("captions/offsets");
    layout.caption_first = place("captions/first");
    layout.ids = place("samples/ids");
    if (layout.has_labels) layout.labels = place("samples/labels");
    if (layout.has_roles) layout.roles = place("captions/roles");
    if (layout.has_boxes) {
      layout.box_first = place("boxes/first");
      layout.box_corners = place("boxes/corners");
      layout.box_classes = place("boxes/classes");
      layout.box_phrases = place("boxes/phrases");
    }
    return shard;
  }

  void read_arrays() {
    const std::filesystem::path path = dir_ / kIndexArraysName;
    const auto damaged = [&](const std::string& rule) {
      throw WorldError(path.string(),
                       fmt::format("{}. It is damaged or belongs to another index. {}.", rule, remedy(dir_)));
    };
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) damaged("is missing");
    const uint64_t samples = wanted_.num_samples, captions = wanted_.num_captions, boxes = wanted_.num_boxes;
    const uint64_t labels = wanted_.has_labels * samples, roles = wanted_.has_roles * captions;
    const uint64_t box_first = boxes != 0 ? samples + 1 : 0;
    const uint64_t expected = sizeof(ArraysHeader) + samples * sizeof(IndexRecord) + labels * sizeof(int64_t) +
                              captions * sizeof(uint32_t) + roles * sizeof(TextRole) + box_first * sizeof(uint64_t) +
                              boxes * sizeof(BoxRecord);
    const File file = File::open_read(path);
    // The size of the real file bounds what is allocated below.
    if (file.size() != expected || arrays_bytes_ != expected) {
      damaged(fmt::format("must have {} bytes, found {}", expected, file.size()));
    }
    ArraysHeader header;
    index_.records.resize(samples);
    index_.caption_bytes.resize(captions);
    index_.labels.resize(labels);
    index_.roles.resize(roles);
    index_.box_first.resize(box_first);
    index_.boxes.resize(boxes);
    Hasher hasher;
    uint64_t at = 0;
    const auto take = [&](std::span<std::byte> bytes) {
      file.pread(bytes, at);
      hasher.update(bytes);
      at += bytes.size();
    };
    take(std::as_writable_bytes(std::span(&header, 1)));
    take(std::as_writable_bytes(std::span(index_.records)));
    take(std::as_writable_bytes(std::span(index_.labels)));
    take(std::as_writable_bytes(std::span(index_.caption_bytes)));
    take(std::as_writable_bytes(std::span(index_.roles)));
    take(std::as_writable_bytes(std::span(index_.box_first)));
    take(std::as_writable_bytes(std::span(index_.boxes)));
    if (hasher.digest() != arrays_hash_) damaged("does not have the hash that index.json states");
    if (!(header == wanted_)) damaged("its header contradicts index.json");
    const bool has_other_role = std::ranges::any_of(
        index_.roles, [](TextRole role) { return !text_role_of(static_cast<uint8_t>(role)).has_value(); });
    if (has_other_role) damaged(fmt::format("a role must be 0 to {}", kNumTextRoles - 1));
    const bool is_sound =
        index_.box_first.empty() ||
        (index_.box_first.front() == 0 && index_.box_first.back() == boxes && std::ranges::is_sorted(index_.box_first));
    if (!is_sound) damaged("where the samples' boxes begin must ascend from 0 to their number");
  }

  /// Of sample i, whose captions begin at `first_caption` of the data set and exist.
  bool has_sound_annotations(std::size_t i, std::size_t first_caption) const {
    const IndexRecord& r = index_.records[i];
    std::span<const TextRole> roles;
    if (!index_.roles.empty()) roles = std::span(index_.roles).subspan(first_caption, r.num_captions);
    std::span<const BoxRecord> boxes;
    if (!index_.box_first.empty()) {
      const uint64_t first = index_.box_first[i];
      boxes = std::span(index_.boxes).subspan(first, index_.box_first[i + 1] - first);
    }
    if (r.is_turned > (boxes.empty() ? 0 : 1)) return false;
    const uint32_t width = r.is_turned != 0 ? r.height : r.width, height = r.is_turned != 0 ? r.width : r.height;
    return fault_of_roles(roles).empty() && fault_of_boxes(boxes, width, height, roles).empty();
  }

  /// What later reads rely on: every range lies in its array. A forged index with fitting hashes still cannot lead a
  /// read outside its files or allocate without bound.
  void check_records() const {
    std::size_t i = 0, caption_base = 0;
    for (const IndexedShard& shard : index_.shards) {
      const uint64_t image_end = shard.layout.image_bytes.offset + shard.layout.image_bytes.bytes;
      const uint64_t caption_end = shard.layout.caption_bytes.offset + shard.layout.caption_bytes.bytes;
      uint64_t next_caption = 0;
      for (uint64_t k = 0; k < shard.layout.num_samples; ++k, ++i) {
        const IndexRecord& r = index_.records[i];
        bool sound = r.image_bytes <= kMaxImageBytes && r.image_offset <= image_end &&
                     r.image_bytes <= image_end - r.image_offset && r.num_captions <= kMaxCaptionsPerSample &&
                     r.first_caption == next_caption && r.num_captions <= shard.layout.num_captions - next_caption &&
                     (r.image_bytes == 0) == (r.image_format == 0) && r.image_format <= 3 &&
                     uint64_t{r.width} * r.height <= kMaxImagePixels;
        uint64_t bytes = 0;
        for (uint64_t c = 0; sound && c < r.num_captions; ++c) {
          const uint32_t length = index_.caption_bytes[caption_base + next_caption + c];
          sound = length <= kMaxCaptionBytes;
          bytes += length;
        }
        sound = sound && has_sound_annotations(i, caption_base + next_caption);
        if (!sound || r.captions_offset > caption_end || bytes > caption_end - r.captions_offset) {
          throw WorldError((dir_ / kIndexArraysName).string(),
                           fmt::format("the record of sample {} points outside {}. It is damaged. {}.", i, shard.file,
                                       remedy(dir_)));
        }
        next_caption += r.num_captions;
      }
      caption_base += shard.layout.num_captions;
    }
  }

  const std::filesystem::path& dir_;
  std::filesystem::path json_path_;
  DatasetIndex index_;
  ArraysHeader wanted_;
  uint64_t arrays_bytes_ = 0;
  Hash128 arrays_hash_;
};

}  // namespace

void write_index(const std::filesystem::path& dir, const DatasetIndex& index) {
  const ArraysHeader header = header_of(index.records.size(), index.caption_bytes.size(), !index.labels.empty(),
                                        !index.roles.empty(), index.boxes.size());
  const std::array<std::span<const std::byte>, 7> parts{
      std::as_bytes(std::span(&header, 1)),   std::as_bytes(std::span(index.records)),
      std::as_bytes(std::span(index.labels)), std::as_bytes(std::span(index.caption_bytes)),
      std::as_bytes(std::span(index.roles)),  std::as_bytes(std::span(index.box_first)),
      std::as_bytes(std::span(index.boxes))};
  Hasher hasher;
  std::string arrays;
  for (const auto part : parts) {
    hasher.update(part);
    arrays.append(reinterpret_cast<const char*>(part.data()), part.size());
  }

  Json json;
  json["format"] = kIndexFormat;
  json["version"] = header.version;
  json["data_set_id"] = index.data_set_id;
  json["num_samples"] = header.num_samples;
  json["num_captions"] = header.num_captions;
  json["has_labels"] = header.has_labels != 0;
  if (header.version == kAnnotatedIndexVersion) {
    json["has_roles"] = header.has_roles != 0;
    json["num_boxes"] = header.num_boxes;
  }
  json["arrays"] = {{"file", kIndexArraysName}, {"bytes", arrays.size()}, {"xxh3_128", hasher.digest().hex()}};
  json["shards"] = Json::array();
  for (const IndexedShard& shard : index.shards) json["shards"].push_back(shard_json(shard));
  json["checksum"] = checksum_of(json);

  write_file_atomically(dir / kIndexArraysName, arrays);
  write_file_atomically(dir / kIndexName, json.dump(1) + "\n");
}

DatasetIndex read_index(const std::filesystem::path& dir) {
  return IndexReader(dir).read();
}

}  // namespace triptych::data
