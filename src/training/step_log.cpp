#include "training/step_log.h"

#include <array>
#include <limits>

#include "base/console.h"
#include "kernels/gemm_peak.h"

namespace triptych::training {
namespace {

// Of which the peak's measurement, 0.4 s, would be more than 2 %.
constexpr double kShortRunSeconds = 20;

}  // namespace

double gemm_peak_of_all_ranks(Session& session, DType dtype) {
  const std::optional<double> own = measure_gemm_peak(session.device(), dtype);
  std::array<double, 2> sums{own.value_or(0), own ? 0.0 : 1.0};  // FLOP/s, and ranks without
  Group& world = session.mesh().world();
  world.all_reduce(sums.data(), 2, DType::kFloat64, ReduceOp::kSum)->wait();
  if (sums[1] == 0) return sums[0];
  if (world.rank() == 0) {
    print_warning(
        fmt::format("[gemm peak] there is no share of peak in this run: {} of {} ranks have no memory left to measure "
                    "the speed of matrix products. Training is not concerned",
                    sums[1], world.size()));
  }
  return std::numeric_limits<double>::quiet_NaN();
}

StepLog::StepLog(const RunConfig& config, Session& session) : config_(&config), session_(&session) {}

// Alike on all ranks, whose clocks differ.
bool StepLog::is_worth_measuring(int64_t step, double step_ms) const {
  const TrainingOptions& training = config_->training;
  const int64_t end = training.stop_after > 0 ? training.stop_after : training.steps;
  Group& world = session_->mesh().world();
  double seconds = static_cast<double>(end - step) * step_ms / 1e3 / world.size();
  world.all_reduce(&seconds, 1, DType::kFloat64, ReduceOp::kSum)->wait();
  return seconds >= kShortRunSeconds;
}

StepMetrics StepLog::line(const StepReport& report, double loader_wait_ms) {
  const double elapsed_ms = std::chrono::duration<double, std::milli>(Clock::now() - last_).count();
  StepMetrics line;
  line.step = report.step;
  line.loss = report.loss();
  line.grad_norm = report.grad_norm;
  line.learning_rate = learning_rate(config_->learning_rate, report.step - 1);
  const std::vector<StepValue>& values = session_->executor().step_values();
  for (std::size_t i = 1; i < values.size(); ++i) line.scalars.emplace_back(values[i].name, report.values[i]);
  line.step_ms = elapsed_ms;
  line.loader_wait_ms = loader_wait_ms;
  line.samples_per_s = static_cast<double>(config_->training.global_batch) / elapsed_ms * 1e3;
  line.tflops = session_->executor().flops() * line.samples_per_s / 1e12;
  // After the first step, so that it does not delay the start.
  if (!peak_) {
    peak_ = is_worth_measuring(report.step, elapsed_ms) ? gemm_peak_of_all_ranks(*session_, config_->training.precision)
                                                        : std::numeric_limits<double>::quiet_NaN();
  }
  line.peak_share = line.tflops * 1e12 / *peak_;
  line.rss_mb = resident_mb();
  line.time = seconds_now();
  line.skipped = report.num_skipped;
  start_clock();
  return line;
}

}  // namespace triptych::training
