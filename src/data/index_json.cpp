#include "data/index_json.h"

#include <algorithm>
#include <charconv>
#include <span>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace triptych::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kIndexFormat = "triptych-index";
constexpr uint64_t kMaxJsonBytes = kMaxShards * 2000;  // a shard's entry has about 1300 bytes
constexpr uint64_t kMaxSamples = uint64_t{1} << 40;    // and boxes; keeps sizes from wrapping
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxFileNameBytes = 255;  // of Linux

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
class DescriptionReader {
 public:
  explicit DescriptionReader(const std::filesystem::path& dir) : dir_(dir), json_path_(dir / kIndexName) {}

  IndexDescription read() {
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
    return std::move(index_);
  }

 private:
  [[noreturn]] void refuse(std::string_view rule) const {
    throw WorldError(json_path_.string(), fmt::format("{}. It is damaged. {}.", rule, index_remedy(dir_)));
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
                                                        kIndexVersion, kAnnotatedIndexVersion, index_remedy(dir_)));
    }
    index_.checksum = json.at("checksum").get<std::string>();
    json.erase("checksum");
    if (index_.checksum != checksum_of(json)) refuse("its checksum does not match its contents");

    index_.data_set_id = json.at("data_set_id").get<std::string>();
    if (!is_data_set_id(index_.data_set_id)) refuse("'data_set_id' is none");
    const bool is_annotated = version == kAnnotatedIndexVersion;
    index_.header = make_arrays_header(
        number(json, "num_samples"), number(json, "num_captions"), json.at("has_labels").get<bool>(),
        is_annotated && json.at("has_roles").get<bool>(), is_annotated ? number(json, "num_boxes") : 0);
    if (index_.header.version != version) refuse("'version' must be 2 with roles or boxes, and 1 without");
    const Json& arrays = json.at("arrays");
    index_.arrays_bytes = number(arrays, "bytes");
    index_.arrays_hash = hash(arrays, "xxh3_128");
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
    if (samples != index_.header.num_samples || captions != index_.header.num_captions ||
        boxes != index_.header.num_boxes || samples > kMaxSamples || captions > kMaxSamples || boxes > kMaxSamples) {
      refuse(fmt::format(
          "the shards' counts, {} samples, {} captions and {} boxes, must add up to the totals, {}, {} "
          "and {}",
          samples, captions, boxes, index_.header.num_samples, index_.header.num_captions, index_.header.num_boxes));
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

  const std::filesystem::path& dir_;
  std::filesystem::path json_path_;
  IndexDescription index_;
};

}  // namespace

uint64_t ArraysHeader::num_bytes() const {
  const uint64_t box_first = num_boxes != 0 ? num_samples + 1 : 0;
  return sizeof(ArraysHeader) + num_samples * sizeof(IndexRecord) + has_labels * num_samples * sizeof(int64_t) +
         num_captions * sizeof(uint32_t) + has_roles * num_captions * sizeof(TextRole) + box_first * sizeof(uint64_t) +
         num_boxes * sizeof(BoxRecord);
}

ArraysHeader make_arrays_header(uint64_t num_samples, uint64_t num_captions, bool has_labels, bool has_roles,
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

std::string index_remedy(const std::filesystem::path& dir) {
  return fmt::format("Run `triptych index {}` to make it again", dir.string());
}

IndexDescription read_index_description(const std::filesystem::path& dir) {
  return DescriptionReader(dir).read();
}

void write_index_description(const std::filesystem::path& dir, const IndexDescription& index) {
  Json json;
  json["format"] = kIndexFormat;
  json["version"] = index.header.version;
  json["data_set_id"] = index.data_set_id;
  json["num_samples"] = index.header.num_samples;
  json["num_captions"] = index.header.num_captions;
  json["has_labels"] = index.header.has_labels != 0;
  if (index.header.version == kAnnotatedIndexVersion) {
    json["has_roles"] = index.header.has_roles != 0;
    json["num_boxes"] = index.header.num_boxes;
  }
  json["arrays"] = {{"file", kIndexArraysName}, {"bytes", index.arrays_bytes}, {"xxh3_128", index.arrays_hash.hex()}};
  json["shards"] = Json::array();
  for (const IndexedShard& shard : index.shards) json["shards"].push_back(shard_json(shard));
  json["checksum"] = checksum_of(json);
  write_file_atomically(dir / kIndexName, json.dump(1) + "\n");
}

}  // namespace triptych::data
