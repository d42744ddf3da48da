#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"
#include "report/panel.h"

namespace triptych::report {

/// The last evaluation of a run by `triptych eval`, pictures and all: evaluation.json, kept so that the run's report
/// can be made anew.
struct EvaluationRecord {
  int64_t step = 0;                                     ///< of the checkpoint that was measured
  std::string checkpoint;                               ///< its path as it was then
  std::string time;                                     ///< "2026-03-01T12:00:00Z"
  std::vector<std::pair<std::string, double>> metrics;  ///< by name, in their order
  std::vector<Panel> panels;
  std::vector<std::pair<std::string, std::string>> facts;  ///< name, value: parameters
  /// What names in the tables stand for, such as a data set's or a baseline's: name, meaning.
  std::vector<std::pair<std::string, std::string>> meanings;
};

inline constexpr std::string_view kEvaluationName = "evaluation.json";
inline constexpr std::string_view kEvaluationFormat = "triptych-evaluation";

/// JSON; numbers read back to the same bits, those that are not finite to NaN.
std::string evaluation_to_json(const EvaluationRecord& record);
/// The reverse. Throws UserError, with the place `where`, for what evaluation_to_json did not write.
EvaluationRecord evaluation_from_json(std::string_view text, std::string_view where);

/// Of a run's folder; nothing if it has none. Throws UserError as above, also for more than 256 MiB.
std::optional<EvaluationRecord> read_evaluation(const std::filesystem::path& folder);

}  // namespace triptych::report
