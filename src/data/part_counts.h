#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace triptych::data {

/// Some of the parts that a sample may have.
struct PartChoice {
  bool images = false, captions = false, labels = false;
};

/// How many samples have which parts.
struct PartCounts {
  uint64_t samples = 0;
  uint64_t images = 0, captions = 0, labels = 0;
  uint64_t pairs = 0;  ///< an image and a caption

  void add(bool has_image, bool has_caption, bool has_label);
  /// "3 have no image, 1 no caption", of those parts among `parts` that some samples lack; empty if none does.
  std::string lacking(const PartChoice& parts) const;
};

/// Of a data set's samples, as its index knows them.
PartCounts count_parts(const Dataset& dataset);

/// How many of its samples have all of `parts`.
uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts);

}  // namespace triptych::data
