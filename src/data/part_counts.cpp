#include "data/part_counts.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/core.h>

namespace triptych::data {
namespace {

struct Part {
  std::string_view name;
  bool PartChoice::*chosen;
  uint64_t PartCounts::*count;
};

constexpr std::array kParts{Part{"image", &PartChoice::images, &PartCounts::images},
                            Part{"caption", &PartChoice::captions, &PartCounts::captions},
                            Part{"question", &PartChoice::questions, &PartCounts::questions},
                            Part{"answer", &PartChoice::answers, &PartCounts::answers},
                            Part{"phrase", &PartChoice::phrases, &PartCounts::phrases},
                            Part{"box", &PartChoice::boxes, &PartCounts::boxes},
                            Part{"label", &PartChoice::labels, &PartCounts::labels}};

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

void PartCounts::add(const PartChoice& parts) {
  ++samples;
  for (const Part& part : kParts) this->*part.count += parts.*part.chosen;
  pairs += parts.images && parts.captions;
}

PartChoice PartCounts::some() const {
  PartChoice parts;
  for (const Part& part : kParts) parts.*part.chosen = this->*part.count != 0;
  return parts;
}

std::string PartCounts::lacking(const PartChoice& parts) const {
  std::string text;
  for (const Part& part : kParts) {
    const uint64_t count = this->*part.count;
    if (!(parts.*part.chosen) || count == samples) continue;
    text += text.empty() ? fmt::format("{} have no {}", samples - count, part.name)
                         : fmt::format(", {} no {}", samples - count, part.name);
  }
  return text;
}

PartCounts count_parts(const Dataset& dataset) {
  PartCounts counts;
  for (uint64_t i = 0; i < dataset.size(); ++i) counts.add(parts_of(dataset.record(i)));
  return counts;
}

uint64_t count_samples_with(const Dataset& dataset, const PartChoice& parts) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const PartChoice found = parts_of(dataset.record(i));
    count += std::ranges::all_of(kParts, [&](const Part& part) { return found.*part.chosen || !(parts.*part.chosen); });
  }
  return count;
}

uint64_t most_boxes(const Dataset& dataset) {
  uint64_t most = 0;
  for (uint64_t i = 0; i < dataset.size(); ++i) most = std::max<uint64_t>(most, dataset.record(i).boxes.size());
  return most;
}

}  // namespace triptych::data
