#include "training/step_log.h"

#include "kernels/gemm_peak.h"

namespace triptych::training {

StepLog::StepLog(const RunConfig& config, Session& session) : config_(&config), session_(&session) {}

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
  if (peak_ == 0) {  // after the first step, so that it does not delay the start
    peak_ = measure_gemm_peak(session_->device().stream(), config_->training.precision);
    session_->mesh().world().all_reduce(&peak_, 1, DType::kFloat64, ReduceOp::kSum)->wait();
  }
  line.peak_share = line.tflops * 1e12 / peak_;
  line.rss_mb = resident_mb();
  line.skipped = report.num_skipped;
  start_clock();
  return line;
}

}  // namespace triptych::training
