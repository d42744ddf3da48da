#include "training/step.h"

#include <cstring>

#include "kernels/elementwise.h"

namespace triptych {
namespace {

enum Sum : int64_t { kLoss, kSquaredNorm, kLogScale, kNumReduced, kNorm = kNumReduced, kNumSums };

// A step queues while the one before it is still running; more in flight would only take memory.
constexpr std::size_t kMostInFlight = 2;

}  // namespace

TrainingStep::TrainingStep(Session& session, AdamW& optimizer)
    : session_(&session), optimizer_(&optimizer), parameters_(session.store().all()) {
  Device& device = session.device();
  for (std::size_t i = 0; i < kMostInFlight; ++i) {
    Slot& slot = slots_.emplace_back();
    slot.sums = Tensor::zeros(device, DType::kFloat64, Shape{kNumSums});
    slot.sums_on_host = device.allocate_host(kNumSums * sizeof(double));
    slot.update_on_host = device.allocate_host(sizeof(UpdateState));
  }
}

void TrainingStep::run(std::span<const Fields> microbatches, int64_t step, double learning_rate) {
  TRIPTYCH_CHECK(queued_.size() < kMostInFlight, "{} steps are in flight already", queued_.size());
  Slot& slot = slots_[next_slot_];
  Device& device = session_->device();
  const Mesh& mesh = session_->mesh();
  const Tensor loss = session_->executor().run_step(microbatches, step, optimizer_->loss_scale());

  // One sum over all ranks: the loss, the squared norm, and the scale that one rank knows.
  slot.sums.fill_zero();
  double* sums = slot.sums.data<double>();
  if (loss.defined() && mesh.rank(Axis::kTp) == 0) device.copy(sums + kLoss, loss.raw(), sizeof(double));
  sum_of_squared_gradients(device, mesh, parameters_, sums + kSquaredNorm);
  const ContrastiveObjective* objective = session_->executor().objective();
  if (objective != nullptr && mesh.rank(Axis::kTp) == 0 && mesh.rank(Axis::kDp) == 0) {
    widen(device.stream(), objective->log_scale().data<float>(), sums + kLogScale, 1);
  }
  mesh.all_ranks().all_reduce(sums, kNumReduced, DType::kFloat64, ReduceOp::kSum)->wait();
  optimizer_->step(static_cast<float>(learning_rate), sums + kLoss, sums + kSquaredNorm, sums + kNorm);

  device.download(slot.sums_on_host, sums, kNumSums * sizeof(double));
  slot.arrived = device.download(slot.update_on_host, optimizer_->update_state(), sizeof(UpdateState));
  slot.step = step + 1;
  queued_.push_back(next_slot_);
  next_slot_ = (next_slot_ + 1) % kMostInFlight;
}

std::unique_ptr<StepReport> TrainingStep::take(std::size_t newer) {
  if (queued_.empty()) return nullptr;
  Slot& slot = slots_[queued_.front()];
  if (!slot.arrived.done()) {
    if (queued_.size() <= newer) return nullptr;
    wait_on_host(slot.arrived, [this] { session_->mesh().progress(); });
  }
  queued_.pop_front();
  double sums[kNumSums];
  UpdateState update;
  std::memcpy(sums, slot.sums_on_host.data(), sizeof sums);
  std::memcpy(&update, slot.update_on_host.data(), sizeof update);
  return std::make_unique<StepReport>(StepReport{.step = slot.step,
                                                 .loss = sums[kLoss],
                                                 .grad_norm = sums[kNorm],
                                                 .log_scale = sums[kLogScale],
                                                 .num_skipped = update.num_skipped,
                                                 .loss_scale = static_cast<double>(update.loss_scale)});
}

}  // namespace triptych
