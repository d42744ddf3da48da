#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/line_file.h"

namespace triptych::report {

/// What one step tells. A number that is not known is NaN (`null` in the file).
struct StepMetrics {
  int64_t step = 0;  ///< counts from 1: the number of updates done after this one
  double loss = 0;
  double grad_norm = 0;  ///< over all parameters and ranks, before clipping
  double learning_rate = 0;
  double samples_per_s = 0;   ///< of the global batch
  double step_ms = 0;         ///< wall clock, the wait for the loader included
  double loader_wait_ms = 0;  ///< time in which the step stood still for its batch
  double tflops = 0;          ///< 1e12 operations a second, of all ranks, as the model's formula counts them
  double peak_share = std::numeric_limits<double>::quiet_NaN();  ///< of the peak of all ranks together, 0 to 1
  double rss_mb = 0;                                             ///< resident memory of rank 0, 2^20 bytes
  double time = 0;                                      ///< when this was known: seconds since 1970, by rank 0's clock
  int64_t skipped = 0;                                  ///< steps skipped so far because a gradient was not finite
  std::vector<std::pair<std::string, double>> scalars;  ///< what this kind of run tells besides, by its key in the file
};

/// One line of metrics.jsonl, without its newline: a JSON object whose numbers read back to the same bits (not finite
/// ones become null). `scalars` stand after the learning rate, in their order; their keys must be none of the others'.
std::string to_json_line(const StepMetrics& metrics);
/// The reverse; keys that are not a field of StepMetrics and hold a number go to `scalars`, others are ignored. Nothing
/// if the line is not a JSON object with an integer `step`.
std::optional<StepMetrics> parse_json_line(const std::string& line);
/// True if the line begins as to_json_line begins one, torn or whole: JSON of another program that has a step is not.
bool is_metrics_line(std::string_view line);

/// `metrics.jsonl` of a run, one line a step, appended as a LineFile is.
class MetricsWriter {
 public:
  /// Opens `folder`/metrics.jsonl to go on after step `resume_step` (0: a new run). Lines of later steps, which a
  /// killed run left, and lines that are no metrics, such as a torn last one, are dropped. Throws WorldError if it
  /// cannot be read or written.
  MetricsWriter(const std::filesystem::path& folder, int64_t resume_step);

  /// Appends a line. Throws WorldError (a full disk); nothing of the line is left in the file then.
  void write(const StepMetrics& metrics) { file_.write(to_json_line(metrics)); }
  void sync() { file_.sync(); }

 private:
  LineFile file_;
};

/// All the lines of a metrics.jsonl that are metrics, in the file's order. Throws WorldError if it cannot be read.
std::vector<StepMetrics> read_metrics(const std::filesystem::path& path);
/// The same one by one, so that little memory is needed for any number of them.
void for_each_metrics(const std::filesystem::path& path, const std::function<void(const StepMetrics&)>& use);

/// A step's numbers by the tags that TensorBoard groups them by: train/loss, train/<scalar>, speed/step_ms,
/// memory/rss_mb.
std::vector<std::pair<std::string, double>> tagged_metrics(const StepMetrics& metrics);

/// Seconds since 1970, in whole milliseconds: StepMetrics::time.
double seconds_now();

/// This process's resident memory now, in 2^20 bytes (0 where /proc is not there).
double resident_mb();

}  // namespace triptych::report
