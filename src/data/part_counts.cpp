#include "data/part_counts.h"

#include <tuple>

#include <fmt/core.h>

namespace triptych::data {

void PartCounts::add(bool has_image, bool has_caption, bool has_label) {
  ++samples;
  images += has_image;
  captions += has_caption;
  labels += has_label;
  pairs += has_image && has_caption;
}

std::string PartCounts::lacking(const PartChoice& parts) const {
  std::string text;
  for (const auto& [is_chosen, name, count] : {std::tuple(parts.images, "image", images),
                                               {parts.captions, "caption", captions},
                                               {parts.labels, "label", labels}}) {
    if (!is_chosen || count == samples) continue;
    text += text.empty() ? fmt::format("{} have no {}", samples - count, name)
                         : fmt::format(", {} no {}", samples - count, name);
  }
  return text;
}

PartCounts count_parts(const Dataset& dataset) {
  PartCounts counts;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const SampleRecord record = dataset.record(i);
    counts.add(record.has_image(), record.has_captions(), record.label.has_value());
  }
  return counts;
}

uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const SampleRecord record = dataset.record(i);
    count += (!parts.images || record.has_image()) && (!parts.captions || record.has_captions()) &&
             (!parts.labels || record.label.has_value());
  }
  return count;
}

}  // namespace triptych::data
