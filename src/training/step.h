#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "optim/adamw.h"
#include "training/session.h"

namespace triptych {

/// What a step found out, the same on every rank.
struct StepReport {
  int64_t step = 0;         ///< the number of steps done after this one
  double loss = 0;          ///< over the global batch
  double grad_norm = 0;     ///< over all parameters and ranks, before clipping
  double log_scale = 0;     ///< of the similarities, before the update
  int64_t num_skipped = 0;  ///< steps of the run so far that changed nothing
  double loss_scale = 1;    ///< after this step
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
  void run(std::span<const Fields> microbatches, int64_t step, double learning_rate);
  /// The oldest report that was not taken yet, if it is there or if `newer` steps have been queued since; null if not.
  /// Waits at most for that step. Throws WorldError if a peer fails meanwhile.
  std::unique_ptr<StepReport> take(std::size_t newer);

 private:
  struct Slot {
    Tensor sums;  // float64 [kNumSums] on the device
    HostBuffer sums_on_host, update_on_host;
    Event arrived;
    int64_t step = 0;
  };

  Session* session_;
  AdamW* optimizer_;
  std::vector<Parameter*> parameters_;
  std::vector<Slot> slots_;
  std::deque<std::size_t> queued_;
  std::size_t next_slot_ = 0;
};

}  // namespace triptych
