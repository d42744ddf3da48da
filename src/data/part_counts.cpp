#include "data/part_counts.h"

#include <array>

#include <fmt/core.h>

namespace triptych::data {
namespace {

/// Of each of kParts.
constexpr std::array kCounts{&PartCounts::images,  &PartCounts::captions, &PartCounts::questions, &PartCounts::answers,
                             &PartCounts::phrases, &PartCounts::boxes,    &PartCounts::labels};
static_assert(kCounts.size() == kParts.size());

}  // namespace

PartChoice parts_of(const SampleRecord& record) {
  return {.images = record.has_image(),
          .captions = record.has_text(TextRole::kCaption),
          .questions = record.has_text(TextRole::kQuestion),
          .answers = record.has_text(TextRole::kAnswer),
          .phrases = record.has_text(TextRole::kPhrase),
          .boxes = !record.boxes.empty(),
          .labels = record.label.has_value()};
}

void PartCounts::add(const PartChoice& parts, uint64_t count) {
  samples += count;
  for (std::size_t k = 0; k < kParts.size(); ++k) this->*kCounts[k] += parts.*kParts[k].chosen ? count : 0;
  pairs += parts.images && parts.captions ? count : 0;
}

PartChoice PartCounts::some() const {
  PartChoice parts;
  for (std::size_t k = 0; k < kParts.size(); ++k) parts.*kParts[k].chosen = this->*kCounts[k] != 0;
  return parts;
}

std::string PartCounts::lacking(const PartChoice& parts) const {
  std::string text;
  for (std::size_t k = 0; k < kParts.size(); ++k) {
    const uint64_t count = this->*kCounts[k];
    if (!(parts.*kParts[k].chosen) || count == samples) continue;
    text += text.empty() ? fmt::format("{} have no {}", samples - count, kParts[k].name)
                         : fmt::format(", {} no {}", samples - count, kParts[k].name);
  }
  return text;
}

PartCounts count_parts(const IndexFacts& facts) {
  PartCounts counts;
  for (std::size_t has = 0; has < kNumPartChoices; ++has) {
    PartChoice parts;
    for (std::size_t k = 0; k < kParts.size(); ++k) parts.*kParts[k].chosen = has >> k & 1;
    counts.add(parts, facts.samples_having[has]);
  }
  return counts;
}

PartCounts count_parts(const Dataset& dataset) {
  return count_parts(dataset.facts());
}

uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts) {
  return dataset.facts().num_samples_with(parts);
}

uint64_t most_boxes(const Dataset& dataset) {
  return dataset.facts().most_boxes;
}

}  // namespace triptych::data
