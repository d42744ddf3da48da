#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

// The shard format of docs/shard-format.md: names, version and limits. What a limit is for stands beside it.

inline constexpr std::string_view kShardFormatName = "triptych-shard";
inline constexpr int64_t kShardFormatVersion = 1;

/// One encoded image. Larger than any photograph as JPEG, small enough that a decoder's buffers cannot exhaust memory.
inline constexpr uint64_t kMaxImageBytes = uint64_t{64} << 20;
/// One caption. Text encoders read some hundred bytes; a page of text still fits.
inline constexpr uint64_t kMaxCaptionBytes = uint64_t{64} << 10;
/// Captions of one sample; bounds what one read allocates to 64 MiB.
inline constexpr uint64_t kMaxCaptionsPerSample = 1024;
/// Samples and captions of one shard, so that 32 bits number them within it.
inline constexpr uint64_t kMaxSamplesPerShard = uint64_t{1} << 31;
/// Image bytes of one shard that the writer makes: it holds a shard in memory until it is complete.
inline constexpr uint64_t kMaxWrittenShardBytes = uint64_t{1} << 30;
/// Characters of a data set's id; a UUID has 36.
inline constexpr std::size_t kMaxDataSetIdBytes = 64;
/// Shards of one data set: their list is JSON, read at start.
inline constexpr uint64_t kMaxShards = 100000;
/// The label of a sample that has none, in a shard where others have one.
inline constexpr int64_t kNoLabel = -1;

/// One array of a shard: where its bytes lie in the file. An empty array has offset 0.
struct ArrayPlace {
  uint64_t offset = 0;  ///< from the beginning of the file
  uint64_t bytes = 0;
  bool operator==(const ArrayPlace&) const = default;
};

/// What HDF5 is asked for once: the counts and the places of all arrays of a shard.
struct ShardLayout {
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;
  bool has_labels = false;
  ArrayPlace image_bytes, image_offsets, caption_bytes, caption_offsets, caption_first, ids, labels;
  bool operator==(const ShardLayout&) const = default;
};

/// "shard_00007.h5".
std::string shard_file_name(uint64_t number);

/// True if `id` has the form that `triptych ingest` gives: a UUID of version 8 (RFC 9562: custom contents).
bool is_ingest_id(std::string_view id);

/// True if `id` is 1 to kMaxDataSetIdBytes letters, digits, '-', '_' or '.'.
bool is_data_set_id(std::string_view id);

}  // namespace triptych::data
