#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "data/image_decoder.h"
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
  std::span<const TextRole> roles;   ///< of its texts, in order; empty where all are captions. Borrows from the Dataset
  std::span<const BoxRecord> boxes;  ///< borrows from the Dataset
  bool is_turned = false;            ///< it has boxes, and they count pixels of an image whose sides are exchanged

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

/// A data set on disk: a folder of shards with an index. Opening reads the index, checks every shard's size and the
/// hash of its metadata, and never scans samples; HDF5 itself is not involved, since the index knows where the bytes
/// lie.
///
/// Samples are numbered 0 .. size()-1 in the order of the index. All const members may be called from several threads.
/// Memory: 64 bytes a sample and 4 bytes a caption; where there are boxes, 8 more a sample and 24 a box, and where
/// texts have roles, 1 more a text.
class Dataset {
 public:
  /// Throws UserError if `dir` is no indexed data set, is empty or was indexed before its shards changed shape,
  /// WorldError if an index or shard file is damaged. The message names the file.
  static Dataset open(const std::filesystem::path& dir);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  const std::filesystem::path& path() const;
  /// The same for all shards of the data set.
  const std::string& data_set_id() const;
  /// Equal for equal samples in the same order, wherever they lie and however they are cut into shards: a hash of every
  /// sample's id, label and checksums, and of roles and boxes where there are any. Takes a pass over the index.
  Hash128 content_hash() const;
  uint64_t size() const;
  uint64_t num_captions() const;  ///< texts of every role
  uint64_t num_texts(TextRole role) const;
  uint64_t num_images() const;
  uint64_t num_boxes() const;
  bool has_images() const { return num_images() != 0; }
  bool has_captions() const { return num_texts(TextRole::kCaption) != 0; }
  bool has_labels() const;
  uint32_t num_shards() const;
  std::string_view shard_name(uint32_t shard) const;
  uint64_t first_sample(uint32_t shard) const;

  uint64_t id(uint64_t i) const;
  /// "shard_00000.h5 sample 17 (id 42)", with the sample's place in its shard; for messages.
  std::string sample_name(uint64_t i) const;
  SampleRecord record(uint64_t i) const;
  /// Reads the asked parts and checks their checksums; the other parts of `buffer` become empty. A read that fails is
  /// tried again, three times in 0.4 seconds, on the file opened anew; not so while the shard's last read failed for
  /// all that. Throws WorldError that names the file and the sample.
  void read(uint64_t i, SampleBuffer& buffer, SampleParts parts = SampleParts::kAll) const;

 private:
  struct State;
  explicit Dataset(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace triptych::data
