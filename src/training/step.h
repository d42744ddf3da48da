#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "optim/adamw.h"
#include "training/session.h"

namespace triptych::training {

/// What a step found out, the same on every rank.
struct StepReport {
  int64_t step = 0;            ///< the number of steps done after this one
  std::vector<double> values;  ///< as Executor::step_values names them, as people read them; the first is the loss
  double grad_norm = 0;        ///< over all parameters and ranks, before clipping
  int64_t num_skipped = 0;     ///< steps of the run so far that changed nothing
  double loss_scale = 1;       ///< after this step
  int64_t num_stopping = 0;    ///< ranks that want the run to stop

  double loss() const { return values.front(); }
};

/// One optimizer update after another: forward, backward, the agreement of all ranks on loss and norm, AdamW.
///
/// `run` queues a step and returns; its report comes back from the device later, while the next step runs, so a steady
/// step makes no host wait for the device. On the CPU a report is there when `run` returns.
class TrainingStep {
 public:
  /// Everything passed by reference must outlive this.
  TrainingStep(Session& session, AdamW& optimizer);

  /// Queues the update that follows `step` finished ones.
  ///   wants_to_stop   asked behind this rank's backward; the sum over all ranks, which the step makes anyway, carries
  ///                   the answers, so that all ranks find them in the same report
  void run(std::span<const Fields> microbatches, int64_t step, double learning_rate,
           const std::function<bool()>& wants_to_stop = {});
  /// How many steps may have been queued, on any rank, since the step whose report is taken with `take(1)`: 0 on the
  /// CPU, where a report is there when `run` returns.
  int64_t most_newer() const { return session_->device().host_can_read() ? 0 : 1; }
  /// The oldest report that was not taken yet, if it is there or if `newer` steps have been queued since; null if not.
  /// Waits at most for that step. Throws WorldError if a peer fails meanwhile.
  std::unique_ptr<StepReport> take(std::size_t newer);

 private:
  struct InFlight {
    // float64 on the device: the step's values, the squared norm, how many ranks want to stop; behind them the norm
    Tensor sums;
    HostBuffer sums_on_host, update_on_host;
    Event arrived;
    int64_t step = 0;
  };

  Session* session_;
  AdamW* optimizer_;
  std::vector<Parameter*> parameters_;
  std::size_t num_values_;
  std::vector<InFlight> in_flight_;
  std::deque<std::size_t> queued_;
  std::size_t next_ = 0;
};

}  // namespace triptych::training
