#include "training/source_notes.h"

#include <fmt/format.h>

#include "data/part_counts.h"
#include "data/source_mix.h"

namespace triptych::training {

std::vector<std::string> notes_of_sources(const Dataset& dataset, const std::vector<double>& weights, uint64_t batch) {
  std::vector<std::string> notes;
  const SourceMix mix(weights);
  const std::size_t num_sources = dataset.num_sources();
  for (std::size_t s = 0; num_sources > 1 && s < num_sources; ++s) {
    const DataFolder& source = dataset.source(s);
    const double samples_per_step = mix.share(s) * static_cast<double>(batch);
    notes.push_back(fmt::format("source {}: {}, {} samples, {:.3g} % of those seen, an epoch in {:.1f} steps", s,
                                source.path().string(), source.size(), 100 * mix.share(s),
                                static_cast<double>(source.size()) / samples_per_step));
  }
  for (std::size_t s = 0; s < num_sources; ++s) {
    const PartCounts counts = count_parts(dataset.source(s).facts());
    // What another source has, this one lacks.
    const std::string lacking = counts.lacking(count_parts(dataset).some());
    if (lacking.empty()) continue;
    const std::string where = num_sources > 1 ? fmt::format(" of source {}", s) : "";
    notes.push_back(fmt::format("note: of {} samples{} {}; where the task needs it they are masked, not left out",
                                counts.samples, where, lacking));
  }
  for (std::size_t s = 0; s < num_sources; ++s) {
    const uint64_t size = dataset.source(s).size(), rows = mix.most(s, batch);
    if (size >= 2 * rows - 1 || (num_sources == 1 && size == rows)) continue;
    if (num_sources == 1) {
      notes.push_back(fmt::format(
          "note: {} samples are fewer than two batches of {}: so that no batch has a sample twice, they go round in "
          "one order until a batch ends with an epoch",
          size, batch));
    } else {
      notes.push_back(
          fmt::format("note: the {} samples of source {} are fewer than its {} rows of two batches: so that "
                      "no batch has a sample twice, they go round in one order",
                      size, s, 2 * rows));
    }
  }
  return notes;
}

void add_source_samples(const std::vector<double>& weights, uint64_t num_samples, StepMetrics& line) {
  if (weights.size() < 2) return;
  const SourceMix mix(weights);
  for (std::size_t s = 0; s < weights.size(); ++s) {
    line.scalars.emplace_back(fmt::format("samples_{}", s), static_cast<double>(mix.count(s, num_samples)));
  }
}

}  // namespace triptych::training
