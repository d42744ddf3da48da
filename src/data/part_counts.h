#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace triptych::data {

/// Some of the parts that a sample may have: an image, a text of each of the roles, a box, a label.
struct PartChoice {
  bool images = false, captions = false, questions = false, answers = false, phrases = false, boxes = false;
  bool labels = false;
};

/// Those that a sample has.
PartChoice parts_of(const SampleRecord& record);

/// How many samples have which parts.
struct PartCounts {
  uint64_t samples = 0;
  uint64_t images = 0, captions = 0, questions = 0, answers = 0, phrases = 0, boxes = 0;
  uint64_t labels = 0;
  uint64_t pairs = 0;  ///< an image and a caption

  /// A sample that has `parts`.
  void add(const PartChoice& parts);
  /// The parts that any sample has.
  PartChoice some() const;
  /// "3 have no image, 1 no caption", of those parts among `parts` that some samples lack; empty if none does.
  std::string lacking(const PartChoice& parts) const;
};

/// Of a data set's samples, as its index knows them.
PartCounts count_parts(const Dataset& dataset);

/// How many of its samples have all of `parts`.
uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts);

/// The most boxes that a sample of it has.
uint64_t most_boxes(const Dataset& dataset);

}  // namespace triptych::data
