#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "data/shard_format.h"

namespace triptych::data {

inline constexpr std::string_view kIndexName = "index.json";
inline constexpr std::string_view kIndexArraysName = "index.bin";

/// One sample in `index.bin`, as it lies there (little-endian).
struct IndexRecord {
  uint64_t id = 0;
  uint64_t image_offset = 0;      ///< in the shard's file
  uint64_t image_checksum = 0;    ///< XXH3-64 of the encoded image
  uint64_t captions_offset = 0;   ///< in the shard's file
  uint64_t caption_checksum = 0;  ///< XXH3-64 of the sample's captions, one after the other
  uint32_t image_bytes = 0;       ///< 0: no image
  uint32_t width = 0, height = 0;
  uint16_t image_format = 0;   ///< 0 none, 1 JPEG, 2 PNG, 3 WebP
  uint16_t is_turned = 0;      ///< 1: it has boxes, whose image is seen with width and height exchanged
  uint32_t first_caption = 0;  ///< within the shard
  uint32_t num_captions = 0;
};
static_assert(sizeof(IndexRecord) == 64);

struct IndexedShard {
  std::string file;  ///< a plain name, in the index's folder
  uint64_t bytes = 0;
  Hash128 metadata_hash;
  ShardLayout layout;
};

/// A whole index in memory, as it is made and inspected; MappedIndex is what data sets are read with.
/// Records, caption lengths, labels, roles and boxes of the shards follow one another.
struct DatasetIndex {
  std::string data_set_id;
  std::vector<IndexedShard> shards;
  std::vector<IndexRecord> records;
  std::vector<uint32_t> caption_bytes;  ///< length of every caption
  std::vector<int64_t> labels;          ///< empty if no shard has labels
  std::vector<TextRole> roles;          ///< of every caption; empty if no shard has roles
  std::vector<uint64_t> box_first;      ///< of each sample and the end: where its boxes begin; empty if there are none
  std::vector<BoxRecord> boxes;
};

/// Writes index.bin and then index.json, each atomically.
void write_index(const std::filesystem::path& dir, const DatasetIndex& index);

/// A copy of all that MappedIndex::open finds, and throws as that does.
DatasetIndex read_index(const std::filesystem::path& dir);

}  // namespace triptych::data
