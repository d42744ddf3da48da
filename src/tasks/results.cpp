#include "tasks/results.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include <fmt/format.h>

#include "data/class_names.h"
#include "data/image_decoder.h"
#include "data/png_writer.h"

namespace triptych::tasks {
namespace {

std::string folder_name(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

}  // namespace

std::string set_name(const std::string& path) {
  std::string name = folder_name(path);
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

std::vector<int64_t> spread_numbers(int64_t count, int64_t most) {
  const int64_t shown = std::min(most, count);
  std::vector<int64_t> numbers;
  for (int64_t k = 0; k < shown; ++k) numbers.push_back(k * count / shown + count / (2 * shown));
  return numbers;
}

std::vector<int64_t> example_numbers(int64_t count) {
  return spread_numbers(count, kNumExamples);
}

std::optional<ReportPicture> picture_of(const Dataset& dataset, int64_t sample, const std::string& description) {
  try {
    SampleBuffer buffer;
    dataset.read(static_cast<uint64_t>(sample), buffer, SampleParts::kImage);
    if (buffer.image.empty()) return std::nullopt;
    const Image image = decode_image(buffer.image);
    return ReportPicture{encode_png(image.width, image.height, image.pixels), description};
  } catch (const WorldError&) {  // left out, as it was when the model was measured on it
    return std::nullopt;
  }
}

std::vector<std::string> captions_of(const Dataset& dataset, int64_t sample, TextRole role) {
  const SampleRecord record = dataset.record(static_cast<uint64_t>(sample));
  SampleBuffer buffer;
  try {
    dataset.read(static_cast<uint64_t>(sample), buffer, SampleParts::kCaptions);
  } catch (const WorldError&) {  // left out, as it was when the model was measured on it
    return std::vector<std::string>(record.num_texts(role));
  }
  std::vector<std::string> captions;
  for (uint32_t n = 0; n < record.num_texts(role); ++n) captions.emplace_back(buffer.caption(record.nth_text(role, n)));
  return captions;
}

std::vector<std::string> label_names(const std::string& path, int64_t count, std::string_view noun) {
  std::vector<std::string> names = read_class_names(path);
  while (static_cast<int64_t>(names.size()) < count) names.push_back(fmt::format("{} {}", noun, names.size()));
  return names;
}

bool is_smaller_better(std::string_view metric) {
  const std::size_t end_of_set = metric.find(": ");
  const std::string_view measure = end_of_set == std::string_view::npos ? metric : metric.substr(end_of_set + 2);
  return measure == "loss" || measure.starts_with("loss.") || measure.starts_with("perplexity") ||
         measure.starts_with("reconstruction error");
}

void append_results(EvaluationResults& results, EvaluationResults more) {
  std::move(more.metrics.begin(), more.metrics.end(), std::back_inserter(results.metrics));
  std::move(more.panels.begin(), more.panels.end(), std::back_inserter(results.panels));
}

TableValue share_value(double share) {
  return {.number = share, .is_share = true, .text = {}};
}

void tell_changes(TablePanel::Row& row, const TablePanel::Row& other) {
  for (std::size_t c = 0; c < std::min(row.values.size(), other.values.size()); ++c) {
    row.values[c].change = row.values[c].number - other.values[c].number;
  }
}

std::vector<TablePanel::Row> baseline_rows(const EvaluationInputs& inputs, const std::string& path,
                                           const std::vector<std::string>& metrics, bool are_shares) {
  std::vector<TablePanel::Row> rows;
  for (const Baseline& baseline : inputs.baselines) {
    TablePanel::Row& row = rows.emplace_back(TablePanel::Row{baseline.name(), {}});
    for (const std::string& metric : metrics) {
      TableValue& value = row.values.emplace_back();
      value.number = baseline.value(folder_name(path), metric).value_or(value.number);
      value.is_share = are_shares;
    }
  }
  return rows;
}

void require_labels_below(const Dataset& dataset, int64_t num_classes, std::string_view key) {
  if (dataset.facts().greatest_label < num_classes) return;
  uint64_t beyond = 0, example = 0;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const std::optional<int64_t> label = dataset.record(i).label;
    if (!label || *label < num_classes) continue;
    if (beyond++ == 0) example = i;
  }
  throw UserError(dataset.path().string(),
                  fmt::format("labels must be below {0} = {1}; {2} of {3} samples have others, such as {4} with "
                              "label {5}. Raise {0}, or leave them out of the data set",
                              key, num_classes, beyond, dataset.size(), dataset.sample_name(example),
                              *dataset.record(example).label));
}

void require_parts(const Dataset& dataset, const PartChoice& parts, std::string_view measure, uint64_t fewest) {
  std::vector<std::string_view> asked;
  const auto require = [&](bool is_asked, bool is_there, std::string_view name) {
    if (!is_asked) return;
    asked.push_back(name);
    if (is_there) return;
    throw UserError(dataset.path().string(),
                    fmt::format("{} needs {}; this data set has none. Name another data set", measure, name));
  };
  require(parts.images, dataset.has_images(), "images");
  require(parts.captions, dataset.has_captions(), "captions");
  require(parts.questions, dataset.num_texts(TextRole::kQuestion) != 0, "questions");
  require(parts.answers, dataset.num_texts(TextRole::kAnswer) != 0, "answers");
  require(parts.phrases, dataset.num_texts(TextRole::kPhrase) != 0, "phrases");
  require(parts.boxes, dataset.num_boxes() != 0, "boxes");
  require(parts.labels, dataset.has_labels(), "labels");
  const uint64_t count = count_samples_with(dataset, parts);
  if (count >= fewest) return;
  throw UserError(dataset.path().string(),
                  fmt::format("{} needs {} that belong together: {} of {} samples have {}, at least {} must. Name "
                              "another data set",
                              measure, fmt::join(asked, " and "), count, dataset.size(),
                              asked.size() == 2 ? "both" : "them", fewest));
}

std::vector<std::string> with_lacking(std::vector<std::string> notes, const Dataset& dataset, const PartChoice& parts) {
  const PartCounts counts = count_parts(dataset);
  const std::string lacking = counts.lacking(parts);
  if (!lacking.empty()) notes.push_back(fmt::format("of {} samples {}", counts.samples, lacking));
  return notes;
}

}  // namespace triptych::tasks
