#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/hash.h"
#include "data/index_file.h"
#include "data/problems.h"
#include "data/shard_format.h"

namespace triptych::data {

/// Hash of all bytes of a shard's file outside `images/bytes` and `captions/bytes`, in the order of the file.
Hash128 hash_metadata(const File& file, uint64_t file_bytes, const ShardLayout& layout);

/// What a full reading of one shard gives to the index.
struct ShardScan {
  std::string data_set_id;
  IndexedShard shard;
  std::vector<IndexRecord> records;
  std::vector<uint32_t> caption_bytes;
  std::vector<int64_t> labels;      ///< empty if the shard has none
  std::vector<TextRole> roles;      ///< of every caption; empty if the shard has none
  std::vector<uint64_t> box_first;  ///< of each sample and the end; empty if the shard has no array of boxes
  std::vector<BoxRecord> boxes;
};

/// Reads a whole shard and checks every rule of the format. What is wrong with single samples goes to `problems`; what
/// is wrong with the file as a whole is thrown as UserError.
ShardScan scan_shard(const std::filesystem::path& path, Problems& problems);

}  // namespace triptych::data
