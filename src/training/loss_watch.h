#pragma once

#include <cmath>
#include <cstdint>
#include <deque>
#include <string>

#include "training/step.h"

namespace triptych::training {

/// Judges a run by its steps' reports. Every rank has one; they judge alike, since reports are the same on all, and
/// communicate nothing.
///
///   lost    `max_skipped` steps in a row changed nothing, since a loss or a gradient was not finite: nothing is learnt
///           any more. A dynamic loss scale falls from 2^16 to 1 in 16 steps, so that so many in a row can be well. It
///           stays so, whatever the steps bring that were queued already
///   spike   a loss above the mean of the last 100 by more than 6 of their standard deviations and more than a tenth of
///           the mean. At most one is told in 100 steps, and none before 20 were seen
class LossWatch {
 public:
  struct Options {
    int64_t max_skipped = 0;   ///< 0: never lost
    int64_t num_skipped = 0;   ///< of the run before the first report
    bool scales_loss = false;  ///< dynamically: a gradient that overflows under a finite loss is then usual
  };
  explicit LossWatch(const Options& options) : options_(options) {}

  /// Takes the next step's report. Returns what is to be told of it, or nothing.
  std::string see(const StepReport& report);

  bool is_lost() const { return options_.max_skipped > 0 && row_ >= options_.max_skipped; }
  /// Whether the last step's numbers were finite (under a dynamic loss scale: its loss): if not, its parameters are not
  /// known to be good for anything.
  bool is_sound() const { return has_loss_ && (row_ == 0 || options_.scales_loss); }
  /// The first of the steps in a row that changed nothing, and why; 0 if the last one was applied.
  int64_t since() const { return row_ > 0 ? since_ : 0; }
  const std::string& cause() const { return cause_; }

 private:
  std::string see_loss(int64_t step, double loss);

  Options options_;
  int64_t row_ = 0;  // steps in a row that changed nothing
  int64_t since_ = 0;
  std::string cause_;
  bool has_loss_ = true;
  std::deque<double> last_;  // finite losses
  int64_t quiet_until_ = 0, skips_quiet_until_ = 0;
};

}  // namespace triptych::training
