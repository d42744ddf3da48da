#include "training/step.h"

#include <cstring>

namespace triptych::training {
namespace {

// A step queues while the one before it is still running; more in flight would only take memory.
constexpr std::size_t kMostInFlight = 2;
// Behind the step's values: the squared norm, the number of ranks that want to stop, and, of no other rank, the norm.
constexpr std::size_t kNumSummed = 2, kNumMore = kNumSummed + 1;

}  // namespace

TrainingStep::TrainingStep(Session& session, AdamW& optimizer)
    : session_(&session),
      optimizer_(&optimizer),
      parameters_(session.store().all()),
      num_values_(session.executor().step_values().size()) {
  Device& device = session.device();
  const std::size_t num_sums = num_values_ + kNumMore;
  for (std::size_t i = 0; i < kMostInFlight; ++i) {
    InFlight& flight = in_flight_.emplace_back();
    flight.sums = Tensor::zeros(device, DType::kFloat64, Shape{static_cast<int64_t>(num_sums)});
    flight.sums_on_host = device.allocate_host(num_sums * sizeof(double));
    flight.update_on_host = device.allocate_host(sizeof(UpdateState));
  }
}

void TrainingStep::run(std::span<const Fields> microbatches, int64_t step, double learning_rate,
                       const std::function<bool()>& wants_to_stop) {
  TRIPTYCH_CHECK(queued_.size() < kMostInFlight, "{} steps are in flight already", queued_.size());
  InFlight& flight = in_flight_[next_];
  Device& device = session_->device();
  const Mesh& mesh = session_->mesh();
  const Tensor values = session_->executor().run_step(microbatches, step, optimizer_->loss_scale());

  const TraceScope scope(session_->executor().trace(), "optimizer", [] { return std::string("the update"); });
  // One sum over all ranks: the step's values, the squared norm, the wish to stop.
  flight.sums.fill_zero();
  double* sums = flight.sums.data<double>();
  double *squared_norm = sums + num_values_, *stopping = squared_norm + 1, *norm = squared_norm + kNumSummed;
  if (values.defined()) device.copy(sums, values.raw(), num_values_ * sizeof(double));
  sum_of_squared_gradients(device, mesh, parameters_, squared_norm);
  if (wants_to_stop && wants_to_stop()) {
    const double one = 1;
    device.write(stopping, &one, sizeof one);  // waits for the device, where it does, once in a run
  }
  mesh.all_ranks()
      .all_reduce(sums, static_cast<int64_t>(num_values_ + kNumSummed), DType::kFloat64, ReduceOp::kSum)
      ->wait();
  optimizer_->step(learning_rate, sums, squared_norm, norm);
  if (ShardedWeights* const weights = session_->store().sharded_weights()) weights->values_changed();

  device.download(flight.sums_on_host, sums, (num_values_ + kNumMore) * sizeof(double));
  flight.arrived = device.download(flight.update_on_host, optimizer_->update_state(), sizeof(UpdateState));
  flight.step = step + 1;
  queued_.push_back(next_);
  next_ = (next_ + 1) % kMostInFlight;
}

std::unique_ptr<StepReport> TrainingStep::take(std::size_t newer) {
  if (queued_.empty()) return nullptr;
  InFlight& flight = in_flight_[queued_.front()];
  if (!flight.arrived.done()) {
    if (queued_.size() <= newer) return nullptr;
    wait_on_host(flight.arrived, [this] { session_->mesh().progress(); });
  }
  queued_.pop_front();
  std::vector<double> sums(num_values_ + kNumMore);
  UpdateState update;
  std::memcpy(sums.data(), flight.sums_on_host.data(), sums.size() * sizeof(double));
  std::memcpy(&update, flight.update_on_host.data(), sizeof update);
  auto report = std::make_unique<StepReport>();
  report->step = flight.step;
  const std::vector<StepValue>& specs = session_->executor().step_values();
  for (std::size_t i = 0; i < num_values_; ++i) {
    report->values.push_back(specs[i].shown ? specs[i].shown(sums[i]) : sums[i]);
  }
  report->grad_norm = sums.back();
  report->num_stopping = static_cast<int64_t>(sums[num_values_ + 1]);
  report->num_skipped = update.num_skipped;
  report->loss_scale = static_cast<double>(update.loss_scale);
  return report;
}

}  // namespace triptych::training
