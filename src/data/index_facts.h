#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "data/part_choice.h"
#include "data/shard_format.h"

namespace triptych::data {

/// What one pass over an index finds out about its samples. Of constant size, so that whoever makes the pass can tell
/// the others.
struct IndexFacts {
  /// Equal for equal samples in the same order, wherever they lie and however they are cut into shards: of every
  /// sample's id, label and checksums, and of roles and boxes where there are any.
  Hash128 content_hash;
  std::array<uint64_t, kNumTextRoles> num_texts{};         ///< of each role
  std::array<uint64_t, kNumPartChoices> samples_having{};  ///< by number_of the parts that a sample has, and no others
  uint64_t num_boxes = 0;
  uint64_t most_boxes = 0;      ///< of one sample
  int64_t greatest_label = -1;  ///< -1: none has a label

  bool operator==(const IndexFacts&) const = default;

  /// Samples that have all of `parts`.
  uint64_t num_samples_with(const PartChoice& parts) const;
  /// Adds those of samples that follow; the content hash stays.
  void add(const IndexFacts& other);

  /// A line of numbers, and the reverse. What is read must have been written so: throws InternalError if not.
  std::string to_text() const;
  static IndexFacts from_text(const std::string& text);
};

}  // namespace triptych::data
