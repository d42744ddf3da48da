#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/image_decoder.h"
#include "data/packed_array.h"
#include "data/shard_format.h"

namespace triptych::data {

/// What the index knows of a sample, without reading it.
struct SampleRecord {
  uint64_t id = 0;
  uint32_t shard = 0;         ///< number of its file; see `Dataset::shard_name`
  uint64_t image_offset = 0;  ///< in the shard's file
  uint32_t image_bytes = 0;   ///< 0: it has no image
  ImageFormat image_format{};
  uint32_t width = 0, height = 0;  ///< as the encoded image's header says
  uint64_t captions_offset = 0;    ///< in the shard's file; a sample's captions lie one after the other
  uint32_t num_captions = 0;       ///< its texts, of every role
  std::optional<int64_t> label;
  std::span<const TextRole> roles;  ///< of its texts, in order; empty where all are captions. Borrows from the Dataset
  PackedArray<BoxRecord> boxes;     ///< borrow from the Dataset
  bool is_turned = false;           ///< it has boxes, and they count pixels of an image whose sides are exchanged

  bool has_image() const { return image_bytes != 0; }
  bool has_captions() const { return has_text(TextRole::kCaption); }
  /// Sides of the image as it is seen, and as boxes count its pixels; of a sample that has boxes.
  uint32_t seen_width() const { return is_turned ? height : width; }
  uint32_t seen_height() const { return is_turned ? width : height; }

  /// Of text k < num_captions.
  TextRole role(uint32_t k) const { return roles.empty() ? TextRole::kCaption : roles[k]; }
  uint32_t num_texts(TextRole role) const;
  bool has_text(TextRole role) const { return num_texts(role) != 0; }
  /// Which of its texts the n-th of a role is; n < num_texts(role).
  uint32_t nth_text(TextRole role, uint32_t n) const;
};

/// Which bytes of a sample to read: a rank that only sees text skips the images.
enum class SampleParts : uint8_t { kNone = 0, kImage = 1, kCaptions = 2, kAll = 3 };

constexpr SampleParts operator|(SampleParts a, SampleParts b) {
  return static_cast<SampleParts>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr SampleParts operator&(SampleParts a, SampleParts b) {
  return static_cast<SampleParts>(static_cast<uint8_t>(a) & static_cast<uint8_t>(b));
}
constexpr bool has_part(SampleParts parts, SampleParts part) {
  return (parts & part) != SampleParts::kNone;
}

/// A sample's bytes. Keep one and read into it again: its memory is reused.
struct SampleBuffer {
  uint64_t id = 0;
  std::vector<std::byte> image;  ///< encoded; empty if absent or not asked for
  std::string caption_bytes;
  std::vector<uint32_t> caption_ends;  ///< of each caption in `caption_bytes`
  std::size_t num_captions() const { return caption_ends.size(); }
  /// Borrows from `caption_bytes`. UTF-8, checked when the index was made.
  std::string_view caption(std::size_t k) const;
};

}  // namespace triptych::data
