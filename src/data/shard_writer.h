#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/shard_format.h"

namespace triptych::data {

/// A sample as it is given to a writer; borrows everything. An empty image is an absent one.
struct SampleView {
  uint64_t id = 0;  ///< unique within the data set
  std::span<const std::byte> image;
  std::span<const std::string_view> captions;
  std::optional<int64_t> label;      ///< not negative
  std::span<const TextRole> roles;   ///< of the captions, one each; none: all are captions
  std::span<const BoxRecord> boxes;  ///< in pixels of the image as it is seen
};

/// Writes one shard file, as docs/shard-format.md describes it. The same samples give the same bytes.
/// A shard is held in memory until `close`; `has_room` says when the next one is due. Not thread-safe.
class ShardWriter {
 public:
  /// `data_set_id` is shared by all shards of a data set. Touches no file yet.
  ShardWriter(std::filesystem::path path, std::string data_set_id);

  /// Copies the sample. Throws UserError if it breaks a rule of the format (limits, UTF-8, neither image nor captions,
  /// an answer without a question, a box that is not in the image).
  void add(const SampleView& sample);
  /// False if an image of `image_bytes` more would pass the limit of a written shard.
  bool has_room(uint64_t image_bytes) const;
  uint64_t num_samples() const { return ids_.size(); }
  uint64_t num_captions() const { return caption_offsets_.size() - 1; }

  /// Writes under a temporary name, flushes to the disk, renames. Throws WorldError; then no file is left behind.
  /// Nothing may be added after it.
  void close();

 private:
  void write_hdf5(const std::filesystem::path& path) const;

  std::filesystem::path path_;
  std::string data_set_id_;
  bool closed_ = false;
  bool any_label_ = false;
  std::vector<std::byte> image_bytes_;
  std::vector<uint64_t> image_offsets_{0};
  std::string caption_bytes_;
  std::vector<uint64_t> caption_offsets_{0};
  std::vector<uint64_t> caption_first_{0};
  std::vector<uint64_t> ids_;
  std::vector<int64_t> labels_;
  bool any_role_ = false;  // but caption
  std::vector<TextRole> roles_;
  std::vector<uint64_t> box_first_{0};
  std::vector<int32_t> box_corners_, box_phrases_;
  std::vector<int64_t> box_classes_;
};

}  // namespace triptych::data
