#include "execution/executor.h"

#include <algorithm>

#include "execution/partition_model.h"
#include "kernels/elementwise.h"
#include "parallel/redistribute.h"

namespace triptych {
namespace {

constexpr int kActivationTag = 1, kGradientTag = 2;

const Variable& at(const std::map<std::string, Variable>& values, const std::string& name) {
  const auto found = values.find(name);
  TRIPTYCH_CHECK(found != values.end(), "slot {} is not there", name);
  return found->second;
}

}  // namespace

PipelineExecutor::PipelineExecutor(Device& device, Mesh& mesh, ParameterStore& store, const ModelSpec& model,
                                   const ContrastiveConfig& objective, const Schedule& schedule,
                                   const ExecutionOptions& options)
    : device_(&device),
      mesh_(&mesh),
      options_(options),
      schedule_(schedule),
      stage_(mesh.coordinate().pp),
      num_stages_(mesh.shape().pp) {
  TRIPTYCH_CHECK(schedule.num_ranks == num_stages_ && schedule.num_stages == num_stages_,
                 "a schedule of {} ranks and {} stages on {} ranks", schedule.num_ranks, schedule.num_stages,
                 num_stages_);
  const Partition partition = partition_model(model, num_stages_);
  const auto begin = static_cast<std::size_t>(partition.begin[static_cast<std::size_t>(stage_)]);
  const auto end = static_cast<std::size_t>(partition.begin[static_cast<std::size_t>(stage_) + 1]);
  std::vector<Link> links;
  for (int s = 0; s + 1 < num_stages_; ++s) {
    links.push_back({.from = s, .to = s + 1, .tag = kActivationTag});
    links.push_back({.from = s + 1, .to = s, .tag = kGradientTag});
  }
  mesh.pp().open_links(links);  // collective: before a rank may find that it lacks memory
  for (std::size_t i = begin; i < end; ++i) {
    specs_.push_back(model.blocks[i]);
    blocks_.push_back(model.blocks[i].make(store));
  }
  slots_in_ = live_slots(model, begin);
  slots_out_ = live_slots(model, end);
  const float one = 1;
  one_ = Tensor::from<float>(device, Shape{1}, std::span(&one, 1));
  if (is_last_stage()) objective_ = std::make_unique<ContrastiveObjective>(store, objective);
  reducer_ = std::make_unique<Reducer>(device, mesh, store.all(), options.bucket_bytes);
}

std::vector<std::string> PipelineExecutor::fields() const {
  std::vector<std::string> names;
  for (const BlockSpec& spec : specs_) {
    for (const std::string& name : spec.fields) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

Pass PipelineExecutor::make_pass(int64_t step, int64_t first_sample, bool record) {
  return Pass{.device = *device_,
              .mesh = *mesh_,
              .dtype = options_.dtype,
              .record = record,
              .training = options_.training,
              .sequence_parallel = options_.sequence_parallel,
              .recompute = options_.recompute,
              .seed = options_.seed,
              .step = step,
              .first_sample = first_sample,
              .poll = [this] { reducer_->poll(); }};
}

Layout PipelineExecutor::slot_layout(const Slot& slot, const Pass& pass) const {
  return slot.between_blocks ? pass.between_blocks() : pass.whole();
}

PipelineExecutor::Values PipelineExecutor::forward(const Values& inputs, const Fields& data, const Pass& pass) {
  Values values = inputs;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::string& reads = specs_[i].reads;
    Variable y = blocks_[i]->forward(reads.empty() ? Variable() : at(values, reads), data, pass);
    values[specs_[i].writes.name] = std::move(y);
    mesh_->progress();
  }
  Values outputs;
  for (const Slot& slot : slots_out_) outputs[slot.name] = at(values, slot.name);
  return outputs;
}

PipelineExecutor::Values PipelineExecutor::receive_activations(int64_t num_samples, const Pass& pass, bool as_leaves) {
  Values values;
  for (const Slot& slot : slots_in_) {
    std::vector<int64_t> dims{num_samples * mesh_->size(Axis::kDp)};
    dims.insert(dims.end(), slot.dims.begin(), slot.dims.end());
    const Shape global_shape{std::span<const int64_t>(dims)};
    const Layout layout = slot_layout(slot, pass);
    const DType dtype = slot.between_blocks ? options_.dtype : DType::kFloat32;
    Tensor tensor = Tensor::empty(*device_, dtype, local_shape(global_shape, layout, *mesh_));
    std::shared_ptr<Pending> pending =
        mesh_->pp().recv(tensor.raw(), tensor.num_elements(), dtype, stage_ - 1, kActivationTag);
    tensor.set_pending([pending] { pending->wait(); });
    values[slot.name] =
        as_leaves ? Variable::leaf(tensor, global_shape, layout) : Variable::constant(tensor, global_shape, layout);
  }
  return values;
}

void PipelineExecutor::send(const Tensor& tensor, int stage, int tag) {
  const Tensor packed = tensor.contiguous();
  sends_.emplace_back(mesh_->pp().send(packed.raw(), packed.num_elements(), packed.dtype(), stage, tag), packed);
  while (!sends_.empty() && sends_.front().first->test()) sends_.pop_front();
}

void PipelineExecutor::send_activations(const Values& outputs, const Pass& pass) {
  for (const Slot& slot : slots_out_) {
    const Variable& value = at(outputs, slot.name);
    TRIPTYCH_CHECK(value.layout() == slot_layout(slot, pass), "slot {} is laid out {}", slot.name,
                   value.layout().to_string());
    send(value.tensor(), stage_ + 1, kActivationTag);
  }
}

void PipelineExecutor::finish_sends() {
  for (auto& [pending, tensor] : sends_) pending->wait();
  sends_.clear();
}

void PipelineExecutor::evaluate_loss(const Pass& pass, const float* loss_scale) {
  // Each slot's pieces one below the other: the embeddings of this rank's whole batch.
  std::vector<Variable> leaves;
  int64_t rows = 0;
  for (const Slot& slot : slots_out_) {
    std::vector<Tensor> pieces;
    rows = 0;
    for (const Values& values : embeddings_) {
      pieces.push_back(at(values, slot.name).tensor());
      rows += pieces.back().size(0);
    }
    const Tensor whole = Tensor::empty(*device_, DType::kFloat32, Shape{rows, pieces.front().size(1)});
    int64_t begin = 0;
    for (const Tensor& piece : pieces) {
      whole.slice(0, begin, piece.size(0)).copy_from(piece);
      begin += piece.size(0);
    }
    const Shape global_shape{rows * mesh_->size(Axis::kDp), whole.size(1)};
    leaves.push_back(Variable::leaf(whole, global_shape, pass.whole()));
  }
  embeddings_.clear();
  const auto leaf = [&](std::string_view name) -> const Variable& {
    for (std::size_t i = 0; i < slots_out_.size(); ++i) {
      if (slots_out_[i].name == name) return leaves[i];
    }
    throw InternalError("pipeline", fmt::format("the model gives no {}", name));
  };
  const Variable loss = objective_->loss(leaf("image_embedding"), leaf("text_embedding"), pass);
  loss_ = loss.tensor();
  const Gradient seed{Tensor::empty(*device_, DType::kFloat64, Shape{1}), loss.layout().of_gradient()};
  widen(device_->stream(), loss_scale != nullptr ? loss_scale : one_.data<float>(), seed.tensor.data<double>(), 1);
  backward(std::span(&loss, 1), std::span(&seed, 1), pass.poll);

  const int64_t piece = rows / schedule_.num_microbatches;
  for (int m = 0; m < schedule_.num_microbatches; ++m) {
    std::vector<Gradient>& seeds = gradients_in_[m];
    for (const Variable& variable : leaves) {
      const std::optional<Gradient>& gradient = variable.gradient();
      TRIPTYCH_CHECK(gradient && gradient->layout == variable.layout(), "the loss gives no gradient of an embedding");
      seeds.push_back({gradient->tensor.slice(0, m * piece, piece).contiguous(), gradient->layout});
    }
  }
}

void PipelineExecutor::run_backward(int microbatch, const Pass& pass) {
  Kept kept = std::move(kept_.at(microbatch));
  kept_.erase(microbatch);
  std::vector<Gradient> seeds = std::move(gradients_in_.at(microbatch));
  gradients_in_.erase(microbatch);
  std::vector<Variable> roots;
  for (const Slot& slot : slots_out_) roots.push_back(at(kept.outputs, slot.name));
  kept.outputs.clear();
  backward(roots, seeds, pass.poll);
  for (const Slot& slot : slots_in_) {
    const Variable& input = at(kept.inputs, slot.name);
    const std::optional<Gradient>& gradient = input.gradient();
    const Layout wanted = input.layout().of_gradient();
    if (gradient) {
      gradients_out_[microbatch].push_back(
          {redistribute(gradient->tensor, input.global_shape(), gradient->layout, wanted, *mesh_), wanted});
    } else {
      gradients_out_[microbatch].push_back({Tensor::zeros(*device_, input.dtype(), input.tensor().shape()), wanted});
    }
  }
}

Tensor PipelineExecutor::run_step(std::span<const Fields> microbatches, int64_t step, const float* loss_scale) {
  TRIPTYCH_CHECK(static_cast<int>(microbatches.size()) == schedule_.num_microbatches, "{} microbatches for {}",
                 microbatches.size(), schedule_.num_microbatches);
  const int64_t rows = microbatches[0].num_samples();
  const int64_t first = rows * schedule_.num_microbatches * mesh_->rank(Axis::kDp);
  reducer_->begin_step(schedule_.num_microbatches);
  embeddings_.assign(microbatches.size(), {});
  loss_ = Tensor();
  for (const Action& action : schedule_.ranks[static_cast<std::size_t>(stage_)]) {
    const int m = action.microbatch;
    const bool record = action.kind != Action::kEmbed && !action.embed;
    const Pass pass = make_pass(step, first + m * rows, record);
    const Fields& data = microbatches[static_cast<std::size_t>(m)];
    TRIPTYCH_CHECK(action.stage == stage_, "{} of stage {} on the rank of stage {}", to_string(action), action.stage,
                   stage_);
    switch (action.kind) {
      case Action::kRecvActivation:
        arrived_[m] = receive_activations(rows, pass, record);
        break;
      case Action::kEmbed:
      case Action::kForward: {
        const Values inputs = std::move(arrived_[m]);
        arrived_.erase(m);
        Values outputs = forward(inputs, data, pass);
        if (is_last_stage() && !embeddings_.empty()) embeddings_[static_cast<std::size_t>(m)] = outputs;
        if (record) kept_[m] = {inputs, outputs};
        if (!is_last_stage()) ready_[m] = std::move(outputs);
        break;
      }
      case Action::kSendActivation:
        send_activations(ready_.at(m), pass);
        ready_.erase(m);
        break;
      case Action::kLoss:
        evaluate_loss(make_pass(step, first, true), loss_scale);
        break;
      case Action::kRecvGradient:
        for (const Slot& slot : slots_out_) {
          const Variable& output = at(kept_.at(m).outputs, slot.name);
          Tensor tensor = Tensor::empty(*device_, output.dtype(), output.tensor().shape());
          std::shared_ptr<Pending> pending =
              mesh_->pp().recv(tensor.raw(), tensor.num_elements(), tensor.dtype(), stage_ + 1, kGradientTag);
          tensor.set_pending([pending] { pending->wait(); });
          gradients_in_[m].push_back({tensor, output.layout().of_gradient()});
        }
        break;
      case Action::kBackward:
        run_backward(m, pass);
        if (stage_ == 0) gradients_out_.erase(m);
        break;
      case Action::kBackwardInput:
      case Action::kBackwardWeight:
        throw InternalError("pipeline", fmt::format("{}: backwards are run whole", to_string(action)));
      case Action::kSendGradient:
        for (const Gradient& gradient : gradients_out_.at(m)) send(gradient.tensor, stage_ - 1, kGradientTag);
        gradients_out_.erase(m);
        break;
    }
  }
  reducer_->finish();
  finish_sends();
  return loss_;
}

std::pair<Tensor, Tensor> PipelineExecutor::embed(const Fields& data) {
  Pass pass = make_pass(0, 0, false);
  pass.training = false;
  const Values outputs = forward(receive_activations(data.num_samples(), pass, false), data, pass);
  if (!is_last_stage()) {
    send_activations(outputs, pass);
    finish_sends();
    return {};
  }
  return {at(outputs, "image_embedding").tensor(), at(outputs, "text_embedding").tensor()};
}

}  // namespace triptych
