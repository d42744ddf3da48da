#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/line_file.h"

namespace triptych::report {

/// What one evaluation during training found.
struct EvaluationLine {
  int64_t step = 0;      ///< updates done; 0: before the first
  double seconds = 0;    ///< that it took
  bool is_best = false;  ///< the best of the run so far, by evaluation.best
  /// Numbers by name, "unseen style: loss", in the order in which `triptych eval` tells them. Not finite ones are null
  /// in the file and NaN when read.
  std::vector<std::pair<std::string, double>> metrics;
};

/// One line of evaluations.jsonl, without its newline:
/// {"step":200,"seconds":1.5,"best":true,"metrics":{"unseen style: loss":2.25, ...}}. Numbers read back to the same
/// bits.
std::string to_json_line(const EvaluationLine& line);
/// The reverse; nothing if it is no such line.
std::optional<EvaluationLine> parse_evaluation_line(const std::string& line);
/// True if the line begins as to_json_line begins one, torn or whole.
bool is_evaluation_line(std::string_view line);

/// `evaluations.jsonl` of a run, beside metrics.jsonl, one line an evaluation.
class EvaluationLog {
 public:
  /// Opens `folder`/evaluations.jsonl to go on after step `resume_step`; later lines are dropped, and with
  /// `resume_step` 0 all. Throws WorldError if it cannot be read or written.
  EvaluationLog(const std::filesystem::path& folder, int64_t resume_step);

  void write(const EvaluationLine& line) { file_.write(to_json_line(line)); }
  void sync() { file_.sync(); }

 private:
  LineFile file_;
};

/// All lines of an evaluations.jsonl, in the file's order; none if there is no such file. Throws WorldError if it
/// cannot be read.
std::vector<EvaluationLine> read_evaluations(const std::filesystem::path& path);

}  // namespace triptych::report
