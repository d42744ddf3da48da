#include "execution/executor.h"

#include <algorithm>
#include <optional>
#include <set>

#include "execution/partition_model.h"
#include "nn/attention_sink.h"
#include "nn/decoding.h"
#include "ops/ring_attention.h"
#include "parallel/redistribute.h"

namespace triptych::execution {
namespace {

constexpr int kActivationTag = 1, kGradientTag = 2;

std::vector<std::string> sorted_once(const std::vector<std::string>& names) {
  const std::set<std::string> once(names.begin(), names.end());
  return {once.begin(), once.end()};
}

template <typename Map>
typename Map::mapped_type take(Map& map, const typename Map::key_type& key) {
  auto node = map.extract(key);
  return node.empty() ? typename Map::mapped_type() : std::move(node.mapped());
}

}  // namespace

Executor::Executor(Device& device, Mesh& mesh, const Plan& plan, ParameterStore& store, const ModelSpec& model,
                   std::span<const ObjectiveSpec> objectives, const Schedule& schedule, const ExecutionOptions& options)
    : device_(&device),
      mesh_(&mesh),
      plan_(&plan),
      options_(options),
      model_(&model),
      schedule_(schedule),
      step_values_(execution::step_values(objectives)),
      route_(route_to(model, slots_of(objectives))),
      embed_route_(route_to(model, slots_of(objectives, LossCoupling::kCoupled))),
      split_slots_(slots_of(objectives, LossCoupling::kSplit)) {
  TRIPTYCH_CHECK(schedule.num_ranks == mesh.shape().pp, "a schedule of {} ranks on pp = {}", schedule.num_ranks,
                 mesh.shape().pp);
  const Partition partition = partition_model(model, objectives, schedule.num_stages, options.cuts);
  const auto rank_of = [&](int s) { return schedule.rank_of_stage[static_cast<std::size_t>(s)]; };
  std::vector<Link> links;
  const auto add_link = [&](const Link& link) {
    const bool known = std::any_of(links.begin(), links.end(), [&](const Link& other) {
      return other.from == link.from && other.to == link.to && other.tag == link.tag;
    });
    if (!known) links.push_back(link);
  };
  for (int s = 0; s + 1 < schedule.num_stages; ++s) {
    if (!schedule.crosses_ranks(s)) continue;
    add_link({.from = rank_of(s), .to = rank_of(s + 1), .tag = kActivationTag});
    add_link({.from = rank_of(s + 1), .to = rank_of(s), .tag = kGradientTag});
  }
  mesh.pp().open_links(links);  // collective: before a rank may find that it lacks memory
  mesh.group(Axis::kCp).open_links(ring_links(mesh.size(Axis::kCp)));
  for (int s = 0; s < schedule.num_stages; ++s) {
    if (rank_of(s) == mesh.coordinate().pp) stages_.emplace_back(model, partition, s, store, options.full_blocks);
  }
  if (stages_.back().is_last()) losses_ = std::make_unique<Losses>(device, objectives, store);
  std::vector<BlockParameters> mine;
  for (const Stage& one : stages_) mine.insert(mine.end(), one.parameters().begin(), one.parameters().end());
  mine.push_back({model.blocks.size(), store.take_given()});
  parameters_ = gather_parameters(mesh.pp(), mine, store);
  const bool is_sharded = options.zero != Zero::kNone && mesh.size(Axis::kDp) > 1;
  reducer_ = make_reducer(device, mesh, store.all(), options.bucket_bytes,
                          !is_sharded                             ? GradientsAre::kWhole
                          : options.zero == Zero::kOptimizerState ? GradientsAre::kScattered
                                                                  : GradientsAre::kDispersed,
                          options.gradient_dtype);
  if (is_sharded) {
    std::vector<std::vector<Parameter*>> units;
    for (const BlockParameters& block : mine) units.push_back(block.parameters);
    store.gather_in(units, options.zero == Zero::kWeights);
    weights_ = store.sharded_weights();
  }
  is_embedded_.resize(static_cast<std::size_t>(schedule.num_microbatches));
  for (const std::vector<Action>& rank : schedule.ranks) {
    for (const Action& action : rank) {
      if (action.kind == Action::kEmbed) is_embedded_[static_cast<std::size_t>(action.microbatch)] = true;
    }
  }
  own_parameters_ = store.all();
  set_trained([](const std::string&) { return true; });
}

void Executor::set_trace(Trace* trace) {
  trace_ = trace;
  mesh_->set_trace(trace);
  if (device_->work_log() == nullptr) device_->set_trace(trace);  // which has what operations ask for
}

void Executor::set_trained(const std::function<bool(const std::string&)>& is_trained) {
  for (Parameter* parameter : own_parameters_) parameter->is_trained = is_trained(parameter->name);
  flow_ = gradient_flow(*model_, route_, block_trainings(*model_, parameters_, is_trained));
  std::vector<std::string> again = split_slots_;
  for (const Slot& slot : flow_.carried.back()) again.push_back(slot.name);
  again_route_ = route_to(*model_, again);
  reducer_->relearn();
  if (weights_ != nullptr) weights_->relearn();
}

const Route& Executor::route_of(const Action& action) const {
  if (is_embed(action)) return embed_route_;
  return is_embedded_[static_cast<std::size_t>(action.microbatch)] ? again_route_ : route_;
}

std::vector<std::string> Executor::fields() const {
  std::vector<std::string> names = fields(route_.outputs);
  if (losses_) {
    const std::vector<std::string> more = losses_->fields();
    names.insert(names.end(), more.begin(), more.end());
  }
  return sorted_once(names);
}

std::vector<std::string> Executor::fields(std::span<const std::string> outputs) const {
  const Route route = route_to(*model_, outputs);
  std::vector<std::string> names;
  for (const Stage& one : stages_) {
    const std::vector<std::string> more = one.fields(route);
    names.insert(names.end(), more.begin(), more.end());
  }
  return sorted_once(names);
}

std::map<std::string, double> Executor::gradient_magnitudes() const {
  return losses_ ? losses_->gradient_magnitudes() : std::map<std::string, double>();
}

Stage& Executor::stage(int index) {
  const auto found =
      std::find_if(stages_.begin(), stages_.end(), [&](const Stage& one) { return one.index() == index; });
  TRIPTYCH_CHECK(found != stages_.end(), "stage {} is another rank's", index);
  return *found;
}

Pass Executor::make_pass(int64_t step, int64_t first_sample, bool record, const Plan& plan) const {
  return Pass{.device = *device_,
              .mesh = *mesh_,
              .plan = plan,
              .dtype = options_.dtype,
              .record = record,
              .recompute = options_.recompute,
              .tp_pieces = options_.tp_pieces,
              .seed = options_.seed,
              .step = step,
              .first_sample = first_sample,
              .weights = weights_,
              .trace = trace_};
}

// ---- Messages between stages

void Executor::send(const Tensor& tensor, int to_stage, int tag) {
  const Tensor packed = tensor.contiguous();
  const int peer = schedule_.rank_of_stage[static_cast<std::size_t>(to_stage)];
  sends_.emplace_back(mesh_->pp().send(packed.raw(), packed.num_elements(), packed.dtype(), peer, tag), packed);
  while (!sends_.empty() && sends_.front().first->test()) sends_.pop_front();
}

void Executor::send_values(const std::vector<Slot>& slots, const Values& values, int to_stage) {
  for (const Slot& slot : slots) send(value_of(values, slot.name).tensor(), to_stage, kActivationTag);
}

void Executor::finish_sends() {
  for (auto& [pending, tensor] : sends_) pending->wait();
  sends_.clear();
}

Values Executor::receive(const std::vector<Slot>& slots, int64_t num_samples, int from_stage, const Pass& pass) {
  Values values;
  const int peer = schedule_.rank_of_stage[static_cast<std::size_t>(from_stage)];
  for (const Slot& slot : slots) {
    const SlotShape shape = slot_shape(slot, num_samples, pass);
    Tensor tensor = Tensor::empty(*device_, shape.dtype, local_shape(shape.global, shape.layout, *mesh_));
    std::shared_ptr<Pending> pending =
        mesh_->pp().recv(tensor.raw(), tensor.num_elements(), shape.dtype, peer, kActivationTag);
    tensor.set_pending([pending] { pending->wait(); });
    values[slot.name] = Variable::constant(tensor, shape.global, shape.layout);
  }
  return values;
}

// What another stage gave, as this one's forward takes it: of a forward that is recorded, leaves where gradients go.
Values Executor::as_inputs(const Values& values, std::size_t boundary, bool record) const {
  Values inputs;
  for (const auto& [name, value] : values) {
    inputs[name] = record && flow_.is_carried(boundary, name)
                       ? Variable::leaf(value.tensor(), value.global_shape(), value.layout())
                       : value.detached();
  }
  return inputs;
}

void Executor::receive_gradients(const Action& action) {
  const Place place{action.stage, action.microbatch};
  for (const Slot& slot : flow_.carried[stage(action.stage).end()]) {
    const Variable& output = value_of(kept_.at(place).outputs, slot.name);
    gradients_in_[place][slot.name] = receive_gradient(output, action.stage + 1);
  }
}

Gradient Executor::receive_gradient(const Variable& output, int from_stage) {
  const int peer = schedule_.rank_of_stage[static_cast<std::size_t>(from_stage)];
  Tensor tensor = Tensor::empty(*device_, output.dtype(), output.tensor().shape());
  std::shared_ptr<Pending> pending =
      mesh_->pp().recv(tensor.raw(), tensor.num_elements(), tensor.dtype(), peer, kGradientTag);
  tensor.set_pending([pending] { pending->wait(); });
  return {tensor, output.layout().of_gradient()};
}

// Of a stage's input, as the stage before it takes it; zeros where none has come.
Gradient Executor::gradient_to_send(const Variable& input) const {
  const std::optional<Gradient> gradient = input.gradient();
  const Layout wanted = input.layout().of_gradient();
  if (!gradient) return {Tensor::zeros(*device_, input.dtype(), input.tensor().shape()), wanted};
  return {redistribute(gradient->tensor, input.global_shape(), gradient->layout, wanted, *mesh_), wanted};
}

// ---- Actions

void Executor::do_forward(const Action& action, const Fields& data, const Pass& pass) {
  const Place place{action.stage, action.microbatch};
  const Stage& own = stage(action.stage);
  const Values inputs = as_inputs(take(arrived_, place), own.begin(), pass.record);
  Values outputs = own.forward(route_of(action), inputs, data, pass);
  if (own.is_last()) {
    losses_->keep_for_coupled(action.microbatch, outputs);
    if (!pass.record) return;
    Kept kept{.inputs = inputs, .outputs = {}, .losses = losses_->split(outputs, data, pass)};
    for (const std::string& name : losses_->coupled_slots()) {
      if (flow_.is_carried(own.end(), name)) kept.outputs[name] = value_of(outputs, name);
    }
    kept_[place] = std::move(kept);
    return;
  }
  if (pass.record) {
    Kept& kept = kept_[place];
    kept.inputs = inputs;
    for (const auto& [name, output] : outputs) {
      if (flow_.is_carried(own.end(), name)) kept.outputs[name] = output;
    }
  }
  (schedule_.crosses_ranks(action.stage) ? ready_[place] : arrived_[{action.stage + 1, action.microbatch}]) =
      std::move(outputs);
}

void Executor::do_backward(const Action& action) {
  const Place place{action.stage, action.microbatch};
  Kept kept = take(kept_, place);
  std::map<std::string, Gradient> arrived = take(gradients_in_, place);
  std::vector<Variable> roots = std::move(kept.losses);
  std::vector<Gradient> seeds(roots.size(), losses_ ? losses_->seed() : Gradient());
  for (auto& [name, output] : kept.outputs) {
    const auto found = arrived.find(name);
    TRIPTYCH_CHECK(found != arrived.end(), "there is no gradient of slot {}", name);
    roots.push_back(std::move(output));
    seeds.push_back(std::move(found->second));
  }
  kept.outputs.clear();
  arrived.clear();
  WorkApart apart;
  const bool is_split = action.kind == Action::kBackwardInput;
  backward(roots, seeds, {.poll = [this] { poll(); }, .apart = is_split ? &apart : nullptr, .trace = trace_});
  if (is_split) apart_[place] = std::move(apart);
  if (action.stage == 0) return;
  const bool crosses = schedule_.crosses_ranks(action.stage - 1);
  std::map<std::string, Gradient>& out =
      crosses ? gradients_out_[place] : gradients_in_[{action.stage - 1, action.microbatch}];
  for (const auto& [name, input] : kept.inputs) {
    if (flow_.is_carried(stage(action.stage).begin(), name)) out[name] = gradient_to_send(input);
  }
}

// After every operation of backward.
void Executor::poll() {
  const TraceScope scope(trace_, "poll", [] { return std::string("reductions"); });
  reducer_->poll();
  if (weights_ != nullptr) weights_->tick();
}

Tensor Executor::run_step(std::span<const Fields> microbatches, int64_t step, const float* loss_scale) {
  TRIPTYCH_CHECK(static_cast<int>(microbatches.size()) == schedule_.num_microbatches, "{} microbatches for {}",
                 microbatches.size(), schedule_.num_microbatches);
  const int64_t rows = microbatches[0].num_samples();
  const int64_t first = rows * schedule_.num_microbatches * mesh_->rank(Axis::kDp);
  const Pass whole = make_pass(step, first, true, *plan_);
  const auto poll = [this] { this->poll(); };
  reducer_->begin_step();
  if (weights_ != nullptr) weights_->begin_step();
  if (losses_) losses_->begin_step(microbatches, whole, loss_scale);
  for (const Action& action : schedule_.ranks[static_cast<std::size_t>(mesh_->coordinate().pp)]) {
    const TraceScope scope(trace_, "schedule", [&] { return to_string(action, true); });
    const int m = action.microbatch;
    const Place place{action.stage, m};
    const Pass pass = make_pass(step, first + m * rows, !is_embed(action), *plan_);
    switch (action.kind) {
      case Action::kRecvActivation:
        arrived_[place] = receive(stage(action.stage).slots_in(route_of(action)), rows, action.stage - 1, pass);
        break;
      case Action::kEmbed:
      case Action::kForward:
        do_forward(action, microbatches[static_cast<std::size_t>(m)], pass);
        break;
      case Action::kSendActivation:
        send_values(stage(action.stage).slots_out(route_of(action)), take(ready_, place), action.stage + 1);
        break;
      case Action::kLoss: {
        std::vector<std::map<std::string, Gradient>> seeds =
            losses_->coupled(microbatches, flow_.carried.back(), whole, {.poll = poll, .trace = trace_});
        for (std::size_t i = 0; i < seeds.size(); ++i) {
          gradients_in_[{action.stage, static_cast<int>(i)}] = std::move(seeds[i]);
        }
        break;
      }
      case Action::kRecvGradient:
        receive_gradients(action);
        break;
      case Action::kBackward:
      case Action::kBackwardInput:
        do_backward(action);
        break;
      case Action::kBackwardWeight:
        run_apart(take(apart_, place), poll);
        break;
      case Action::kSendGradient: {
        const std::map<std::string, Gradient> gradients = take(gradients_out_, place);
        for (const Slot& slot : flow_.carried[stage(action.stage).begin()]) {
          send(gradients.at(slot.name).tensor, action.stage - 1, kGradientTag);
        }
        break;
      }
    }
  }
  {
    const TraceScope scope(trace_, "poll", [] { return std::string("the last reductions"); });
    reducer_->finish();
  }
  if (weights_ != nullptr) weights_->end_step();
  finish_sends();
  return losses_ ? losses_->values(whole) : Tensor();
}

Pass Executor::make_inference_pass(bool record, const Plan& plan) const {
  Pass pass = make_pass(0, 0, record, plan);
  pass.training = false;
  pass.recompute = Recompute::kNone;
  return pass;
}

Values Executor::infer(const Fields& data, std::span<const std::string> outputs) {
  return infer(data, route_to(*model_, outputs), make_inference_pass(false, inference_plan_));
}

Tensor Executor::measure_losses(std::span<const Fields> microbatches) {
  const int64_t rows = microbatches[0].num_samples();
  const int64_t first = rows * static_cast<int64_t>(microbatches.size()) * mesh_->rank(Axis::kDp);
  Pass pass = make_inference_pass(false, inference_plan_);
  pass.measures_loss = true;
  pass.first_sample = first;
  if (losses_) losses_->begin_step(microbatches, pass, nullptr);
  for (std::size_t m = 0; m < microbatches.size(); ++m) {
    pass.first_sample = first + static_cast<int64_t>(m) * rows;
    const Values values = infer(microbatches[m], route_, pass);
    if (!losses_) continue;
    losses_->keep_for_coupled(static_cast<int>(m), values);
    losses_->split(values, microbatches[m], pass);
  }
  return losses_ ? losses_->measured(microbatches, pass) : Tensor();
}

Values Executor::decode(const Fields& data, const std::string& output, const std::string& memory,
                        DecodingCache& cache) {
  const std::span<const std::string> outputs(&output, 1), given(&memory, cache.position() > 0 ? 1 : 0);
  Pass pass = make_inference_pass(false, decoding_plan_);
  pass.cache = &cache;
  return infer(data, route_to(*model_, outputs, given), pass);
}

Observation Executor::observe(const Fields& data, std::span<const std::string> outputs, AttentionSink& attentions) {
  Pass pass = make_inference_pass(true, decoding_plan_);
  pass.attentions = &attentions;
  Observation seen{.outputs = {}, .route = route_to(*model_, outputs), .stages = {}};
  Values values;
  for (const Stage& own : stages_) {
    const int s = own.index();
    if (s > 0 && schedule_.crosses_ranks(s - 1)) {
      values = receive(own.slots_in(seen.route), data.num_samples(), s - 1, pass);
    }
    // Leaves, where gradients stop until the stage before takes them.
    for (auto& [name, value] : values) value = Variable::leaf(value.tensor(), value.global_shape(), value.layout());
    attentions.begin_stage(s);
    const Values inputs = std::move(values);
    values = own.forward(seen.route, inputs, data, pass);
    seen.stages.emplace_back(inputs, values);
    if (own.is_last()) {
      seen.outputs = std::move(values);
    } else if (schedule_.crosses_ranks(s)) {
      send_values(own.slots_out(seen.route), values, s + 1);
      values.clear();
    }
  }
  finish_sends();
  return seen;
}

void Executor::run_backward(const Observation& seen, std::map<std::string, Gradient> of_outputs) {
  for (std::size_t i = stages_.size(); i-- > 0;) {
    const Stage& own = stages_[i];
    const auto& [inputs, outputs] = seen.stages[i];
    if (!own.is_last() && schedule_.crosses_ranks(own.index())) {
      of_outputs.clear();
      for (const Slot& slot : own.slots_out(seen.route)) {
        of_outputs[slot.name] = receive_gradient(value_of(outputs, slot.name), own.index() + 1);
      }
    }
    std::vector<Variable> roots;
    std::vector<Gradient> seeds;
    for (auto& [name, gradient] : of_outputs) {
      const Variable& output = value_of(outputs, name);
      if (!output.needs_gradient()) continue;  // no attention before it
      roots.push_back(output);
      seeds.push_back(std::move(gradient));
    }
    backward(roots, seeds);
    of_outputs.clear();
    for (const auto& [name, input] : inputs) of_outputs[name] = gradient_to_send(input);
    if (own.index() == 0 || !schedule_.crosses_ranks(own.index() - 1)) continue;
    for (const Slot& slot : own.slots_in(seen.route)) {
      send(of_outputs.at(slot.name).tensor, own.index() - 1, kGradientTag);
    }
  }
  finish_sends();
}

Values Executor::infer(const Fields& data, const Route& route, const Pass& pass) {
  Values values;
  for (const Stage& own : stages_) {
    const int s = own.index();
    if (s > 0 && schedule_.crosses_ranks(s - 1)) {
      values = receive(own.slots_in(route), data.num_samples(), s - 1, pass);
    }
    values = own.forward(route, values, data, pass);
    if (own.is_last()) break;
    if (!schedule_.crosses_ranks(s)) continue;
    send_values(own.slots_out(route), values, s + 1);
    values.clear();
  }
  finish_sends();
  return values;
}

}  // namespace triptych::execution
