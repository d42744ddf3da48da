#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "data/data_folder.h"
#include "data/sample_record.h"

namespace triptych::data {

/// The samples of one data set on disk, or of several, one after the other: the *sources* that a training draws from.
/// Samples, and shards, are numbered through all of them, in the order of the sources. All const members may be called
/// from several threads.
class Dataset {
 public:
  /// One source; throws as DataFolder::open does.
  static Dataset open(const std::filesystem::path& dir);
  /// At least one. Throws UserError if two have the same samples, or what their labels and classes mean differs: of
  /// those with labels, or boxes with classes, all must have the same class names, or none any.
  explicit Dataset(std::vector<DataFolder> sources);

  std::size_t num_sources() const { return sources_.size(); }
  const DataFolder& source(std::size_t s) const { return sources_.at(s); }
  /// Where the samples of source s begin; of num_sources(), where they end.
  uint64_t first_of_source(std::size_t s) const { return first_sample_.at(s); }

  /// Of one source its folder; of several, for messages: "data/a + data/b".
  const std::filesystem::path& path() const { return path_; }
  /// Of one source that of all its shards; of several, all with " + " between.
  std::string data_set_id() const;
  /// Of one source that of its facts; of several, equal for equal sources in the same order.
  Hash128 content_hash() const { return facts_.content_hash; }
  /// Of all sources together.
  const IndexFacts& facts() const { return facts_; }
  uint64_t size() const { return first_sample_.back(); }
  uint64_t num_captions() const;  ///< texts of every role
  uint64_t num_texts(TextRole role) const { return facts_.num_texts[static_cast<std::size_t>(role)]; }
  uint64_t num_images() const { return facts_.num_samples_with({.images = true}); }
  uint64_t num_boxes() const { return facts_.num_boxes; }
  bool has_images() const { return num_images() != 0; }
  bool has_captions() const { return num_texts(TextRole::kCaption) != 0; }
  bool has_labels() const;
  uint32_t num_shards() const { return first_shard_.back(); }
  std::string_view shard_name(uint32_t shard) const;
  uint64_t first_sample(uint32_t shard) const;

  uint64_t id(uint64_t i) const;
  /// "shard_00000.h5 sample 17 (id 42)", with the sample's place in its shard, behind the folder where there are
  /// several; for messages.
  std::string sample_name(uint64_t i) const;
  SampleRecord record(uint64_t i) const;
  /// As DataFolder::read.
  void read(uint64_t i, SampleBuffer& buffer, SampleParts parts = SampleParts::kAll) const;

 private:
  std::size_t source_of(uint64_t i) const;
  std::size_t source_of_shard(uint32_t shard) const;
  void check_sources() const;

  std::vector<DataFolder> sources_;
  std::vector<uint64_t> first_sample_{0};  // of each source, and the end
  std::vector<uint32_t> first_shard_{0};
  IndexFacts facts_;
  std::filesystem::path path_;
};

}  // namespace triptych::data
