#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "report/metrics.h"
#include "training/step.h"

namespace triptych::training {

/// FLOP/s of matrix products of all ranks together, measured on all at once, as they compute: what shares of peak refer
/// to. Not a number, and rank 0 says so, where a rank has no memory left to measure its own. Collective.
double gemm_peak_of_all_ranks(Session& session, DType dtype);

/// Makes lines of metrics out of steps' reports: adds the time that a step took, and what that comes to. Every rank
/// has one.
class StepLog {
 public:
  StepLog(const RunConfig& config, Session& session);

  /// Time begins here: before the first step, and after what is not a step's, such as saving.
  void start_clock() { last_ = Clock::now(); }
  /// A step's time is that from the report before it to its own. The first call is collective: it measures the GEMM
  /// peak, where by that step's time the run goes on for 20 s at least; lines of a shorter one have no share of peak.
  StepMetrics line(const StepReport& report, double loader_wait_ms);

 private:
  using Clock = std::chrono::steady_clock;
  bool is_worth_measuring(int64_t step, double step_ms) const;

  const RunConfig* config_;
  Session* session_;
  std::optional<double> peak_;
  Clock::time_point last_ = Clock::now();
};

}  // namespace triptych::training
