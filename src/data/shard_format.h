#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

// The shard format of docs/shard-format.md: names, version and limits. What a limit is for stands beside it.

inline constexpr std::string_view kShardFormatName = "triptych-shard";
inline constexpr int64_t kShardFormatVersion = 1;
/// Of a shard whose texts have roles or whose images have boxes: who does not know them must refuse it, not pass over
/// them.
inline constexpr int64_t kAnnotatedShardVersion = 2;

/// One encoded image. Larger than any photograph as JPEG, small enough that a decoder's buffers cannot exhaust memory.
inline constexpr uint64_t kMaxImageBytes = uint64_t{64} << 20;
/// One caption. Text encoders read some hundred bytes; a page of text still fits.
inline constexpr uint64_t kMaxCaptionBytes = uint64_t{64} << 10;
/// Captions, and texts of every other role, of one sample; bounds what one read allocates to 64 MiB.
inline constexpr uint64_t kMaxCaptionsPerSample = 1024;
/// Boxes of one sample: more than a picture shows of things that somebody drew a box around.
inline constexpr uint64_t kMaxBoxesPerSample = 1024;
/// Samples, captions and boxes of one shard, so that 32 bits number them within it.
inline constexpr uint64_t kMaxSamplesPerShard = uint64_t{1} << 31;
/// Image bytes of one shard that the writer makes: it holds a shard in memory until it is complete.
inline constexpr uint64_t kMaxWrittenShardBytes = uint64_t{1} << 30;
/// Characters of a data set's id; a UUID has 36.
inline constexpr std::size_t kMaxDataSetIdBytes = 64;
/// Shards of one data set: their list is JSON, read at start.
inline constexpr uint64_t kMaxShards = 100000;
/// The label of a sample that has none, in a shard where others have one.
inline constexpr int64_t kNoLabel = -1;

/// What a text of a sample is. All that a format or a count calls captions are texts of any role where nothing else is
/// said; a role is one byte on the disk.
enum class TextRole : uint8_t {
  kCaption = 0,   ///< says what the image shows
  kQuestion = 1,  ///< is about the image
  kAnswer = 2,    ///< of the question before it: answers stand directly behind their question, the first one first
  kPhrase = 3     ///< names what boxes are around
};
inline constexpr std::size_t kNumTextRoles = 4;

/// "caption", "question", "answer", "phrase".
std::string_view text_role_name(TextRole role);
/// The role that a byte stands for; nothing if it stands for none.
std::optional<TextRole> text_role_of(uint8_t byte);

/// A rectangle around something in a sample's image, in pixels of the image as it is seen, which an EXIF orientation
/// has turned: 0 <= left < right <= width, 0 <= top < bottom <= height. Right and bottom are excluded. It has a class
/// or a phrase, or both.
struct BoxRecord {
  int32_t left = 0, top = 0, right = 0, bottom = 0;
  int32_t class_number = -1;  ///< of the thing; -1: it has none
  int32_t phrase = -1;        ///< which of the sample's texts names it, one of role kPhrase; -1: none
  bool operator==(const BoxRecord&) const = default;
};
static_assert(sizeof(BoxRecord) == 24);  // it lies in the index as it is

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
  uint64_t num_boxes = 0;
  bool has_labels = false, has_roles = false, has_boxes = false;
  ArrayPlace image_bytes, image_offsets, caption_bytes, caption_offsets, caption_first, ids, labels;
  ArrayPlace roles, box_first, box_corners, box_classes, box_phrases;
  int64_t version() const { return has_roles || has_boxes ? kAnnotatedShardVersion : kShardFormatVersion; }
  bool operator==(const ShardLayout&) const = default;
};

/// "shard_00007.h5".
std::string shard_file_name(uint64_t number);

/// True if `id` has the form that `triptych ingest` gives: a UUID of version 8 (RFC 9562: custom contents).
bool is_ingest_id(std::string_view id);

/// True if `id` is 1 to kMaxDataSetIdBytes letters, digits, '-', '_' or '.'.
bool is_data_set_id(std::string_view id);

}  // namespace triptych::data
