#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/part_counts.h"
#include "tasks/task.h"

// What the results of several tasks have in common.

namespace triptych::tasks {

inline constexpr int64_t kNumExamples = 6;  ///< that a report shows of a set
inline constexpr PartChoice kPairs{.images = true, .captions = true};

/// "data/emoji/unseen_style" -> "unseen style".
std::string set_name(const std::string& path);

/// Evenly spaced numbers below `count`, at most `most`.
std::vector<int64_t> spread_numbers(int64_t count, int64_t most);
/// kNumExamples of these: examples are not chosen by how well they do.
std::vector<int64_t> example_numbers(int64_t count);

/// A sample's image as a picture of the report; nothing if it has none that can be used.
std::optional<ReportPicture> picture_of(const Dataset& dataset, int64_t sample, const std::string& description);

/// The captions of a sample, or its texts of another role; empty ones if they cannot be read.
std::vector<std::string> captions_of(const Dataset& dataset, int64_t sample, TextRole role = TextRole::kCaption);

/// What the labels of a set mean, at least `count` names: where it does not say, "class 3".
std::vector<std::string> label_names(const std::string& path, int64_t count, std::string_view noun = "class");

/// Whether a smaller number of a metric ("unseen style: loss") is the better one: losses, perplexities and errors. Of
/// everything else that tasks measure (recall, accuracy, scores, mAP) a larger one is.
bool is_smaller_better(std::string_view metric);

/// Puts `more` behind the results.
void append_results(EvaluationResults& results, EvaluationResults more);

/// A share as a table shows it.
TableValue share_value(double share);

/// Has each number of a row tell what it has more than the other row's: of a modality alone, than of both.
void tell_changes(TablePanel::Row& row, const TablePanel::Row& other);

/// What each of the baselines says of a set: a row, with a value for each of the metrics.
std::vector<TablePanel::Row> baseline_rows(const EvaluationInputs& inputs, const std::string& path,
                                           const std::vector<std::string>& metrics, bool are_shares = true);

/// Throws UserError, with their number and an example, if samples have labels that are not below `num_classes`, which
/// the config's `key` says.
void require_labels_below(const Dataset& dataset, int64_t num_classes, std::string_view key = "model.classes");

/// Throws UserError, with the measure's name, unless at least `fewest` samples of the set have all of `parts`. The
/// others may lack any.
void require_parts(const Dataset& dataset, const PartChoice& parts, std::string_view measure, uint64_t fewest = 1);

/// The notes of a set's results, and one more, "of 11 samples 3 have no image, 1 no caption", if some lack a part.
std::vector<std::string> with_lacking(std::vector<std::string> notes, const Dataset& dataset, const PartChoice& parts);

}  // namespace triptych::tasks
