#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "report/metrics.h"

namespace triptych::report {

/// The progress of a run in one line of at most `width` columns (0: any):
/// `step 120/2000  loss 2.1345  512 samples/s  93.1 GFLOP/s (81 % of peak)  loader 0.3 ms  eta 3m12s`. Where it does
/// not fit, parts are left out in this order: loader, FLOP/s, samples/s, eta, loss. `eta_s` negative: not known yet.
std::string format_progress(const StepMetrics& metrics, int64_t total_steps, double eta_s, int width);

/// "42s", "3m12s", "2h05m", "4d03h".
std::string format_duration(double seconds);

/// Columns of the terminal behind `descriptor`, or 0 if there is none. Open MPI gives each rank a pseudo-terminal of no
/// size as its standard output, wherever mpirun's own goes; such a one counts as what the parent process has there.
int terminal_columns(int descriptor);

/// Shows the progress of a run on standard output (the only stream that mpirun passes on as a terminal). On a terminal:
/// one line, rewritten at most ten times a second. Otherwise: plain lines, the first and the last step and one every
/// `kPlainSeconds` between. One process shows it (rank 0). Not thread-safe.
class ProgressLine {
 public:
  static constexpr double kPlainSeconds = 5;

  /// `descriptor` is borrowed.
  explicit ProgressLine(int64_t total_steps, int descriptor = 1);
  /// Ends the line if one is shown.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(const StepMetrics& metrics);
  /// A message on a line of its own, above the progress line.
  void print(std::string_view message);
  /// Shows the last update, however recent, and ends the line. Called by the destructor too.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void show(int columns);
  void write(std::string_view text);

  int64_t total_steps_;
  int descriptor_;
  bool line_is_open_ = false;
  bool is_latest_shown_ = true;
  StepMetrics latest_;
  int64_t first_step_ = 0;  // of this object's updates
  int64_t num_updates_ = 0;
  Clock::time_point first_update_{};
  Clock::time_point last_shown_{};
};

}  // namespace triptych::report
