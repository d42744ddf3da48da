#include "training/loss_watch.h"

#include <algorithm>
#include <numeric>

#include <fmt/core.h>

namespace triptych::training {
namespace {

constexpr std::size_t kWindow = 100, kLeastSeen = 20;
constexpr double kDeviations = 6, kLeastShare = 0.1;
// Between two warnings of a kind.
constexpr int64_t kQuietSteps = 100;

// "nan", whatever its sign.
std::string shown(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{:g}", value);
}

}  // namespace

std::string LossWatch::see(const StepReport& report) {
  if (is_lost()) return "";
  const double loss = report.loss();
  has_loss_ = std::isfinite(loss);
  const bool is_skipped = report.num_skipped > options_.num_skipped;
  options_.num_skipped = report.num_skipped;
  if (!is_skipped) {
    row_ = 0;
    return see_loss(report.step, loss);
  }
  if (row_++ == 0) {
    since_ = report.step;
    cause_ = fmt::format("loss {}, gradient norm {}", shown(loss), shown(report.grad_norm));
  }
  if ((has_loss_ && options_.scales_loss) || report.step < skips_quiet_until_) return "";
  skips_quiet_until_ = report.step + kQuietSteps;
  return fmt::format("step {} changes nothing, since a number in it is not finite ({})", report.step, cause_);
}

std::string LossWatch::see_loss(int64_t step, double loss) {
  std::string warning;
  if (last_.size() >= kLeastSeen && step >= quiet_until_) {
    const auto count = static_cast<double>(last_.size());
    const double mean = std::accumulate(last_.begin(), last_.end(), 0.0) / count;
    double squares = 0;
    for (const double x : last_) squares += (x - mean) * (x - mean);
    const double deviation = std::sqrt(squares / count);
    if (loss - mean > std::max(kDeviations * deviation, kLeastShare * std::abs(mean))) {
      warning = fmt::format("the loss of step {} is a spike: {:.4f}, where the last {} steps have {:.4f} +- {:.4f}",
                            step, loss, last_.size(), mean, deviation);
      quiet_until_ = step + kQuietSteps;
    }
  }
  last_.push_back(loss);
  if (last_.size() > kWindow) last_.pop_front();
  return warning;
}

}  // namespace triptych::training
