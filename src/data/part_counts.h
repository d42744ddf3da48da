#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"
#include "data/part_choice.h"

namespace triptych::data {

/// Those that a sample has.
PartChoice parts_of(const SampleRecord& record);

/// How many samples have which parts.
struct PartCounts {
  uint64_t samples = 0;
  uint64_t images = 0, captions = 0, questions = 0, answers = 0, phrases = 0, boxes = 0;
  uint64_t labels = 0;
  uint64_t pairs = 0;  ///< an image and a caption

  /// `count` samples that have `parts`.
  void add(const PartChoice& parts, uint64_t count = 1);
  /// The parts that any sample has.
  PartChoice some() const;
  /// "3 have no image, 1 no caption", of those parts among `parts` that some samples lack; empty if none does.
  std::string lacking(const PartChoice& parts) const;
};

/// Of samples, as their index knows them.
PartCounts count_parts(const IndexFacts& facts);
PartCounts count_parts(const Dataset& dataset);

/// How many of its samples have all of `parts`.
uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts);

/// The most boxes that a sample of it has.
uint64_t most_boxes(const Dataset& dataset);

}  // namespace triptych::data
