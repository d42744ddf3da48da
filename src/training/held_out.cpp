#include "training/held_out.h"

#include <chrono>
#include <cmath>

#include "data/dataset.h"
#include "evaluation/held_out_loss.h"
#include "parallel/agreement.h"
#include "tasks/results.h"

namespace triptych::training {
namespace {

constexpr const char* kMetric = "evaluation.metric";  // of the three that follow
constexpr const char* kBest = "evaluation.best";
constexpr const char* kBestStep = "evaluation.best_step";
constexpr const char* kSinceBest = "evaluation.since_best";

// The averages in the place of the weights that have some, while this lives; then the weights again, bit by bit.
class AveragesInPlace {
 public:
  AveragesInPlace(Session& session, AdamW& optimizer) : session_(&session) {
    for (const AdamW::State& state : optimizer.states()) {
      if (!state.average.defined()) continue;
      Tensor& value = state.parameter->value;
      Tensor kept = Tensor::empty(session.device(), value.dtype(), value.shape());
      kept.copy_from(value);
      value.copy_from(state.average);
      kept_.emplace_back(state.parameter, std::move(kept));
    }
    session.store().refresh_compute_copies();
  }
  ~AveragesInPlace() {
    for (const auto& [parameter, kept] : kept_) parameter->value.copy_from(kept);
    session_->store().refresh_compute_copies();
  }
  AveragesInPlace(const AveragesInPlace&) = delete;
  AveragesInPlace& operator=(const AveragesInPlace&) = delete;

 private:
  Session* session_;
  std::vector<std::pair<Parameter*, Tensor>> kept_;
};

// Whole weights on every rank while this lives: replicas may need different numbers of passes for what they decode.
class WeightsHeld {
 public:
  explicit WeightsHeld(Session& session) : weights_(session.store().sharded_weights()) {
    if (weights_ != nullptr) weights_->hold();
  }
  ~WeightsHeld() {
    if (weights_ != nullptr) weights_->release();
  }
  WeightsHeld(const WeightsHeld&) = delete;
  WeightsHeld& operator=(const WeightsHeld&) = delete;

 private:
  ShardedWeights* weights_;
};

const double* find(const std::vector<std::pair<std::string, double>>& metrics, const std::string& name) {
  for (const auto& [key, value] : metrics) {
    if (key == name) return &value;
  }
  return nullptr;
}

// With as many digits as differences between two runs take.
TableValue loss_value(double loss) {
  return {.number = loss, .text = fmt::format("{:.4f}", loss)};
}

EvaluationResults losses_of(const RunConfig& config, Inference& inference, const EvaluationInputs& inputs) {
  EvaluationResults results;
  TablePanel table{.title = "Loss",
                   .caption = "As training measures it, of samples that it does not learn from and does not change.",
                   .subject_head = "Set",
                   .columns = {"Loss"},
                   .subjects = {}};
  const std::vector<FieldSource> sources = config.task->fields(inputs.tokenizer);
  const std::vector<ObjectiveSpec> objectives = config.task->objectives();
  if (objectives.size() > 1) {
    for (const ObjectiveSpec& objective : objectives) table.columns.push_back(objective.name);
  }
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::optional<HeldOutLoss> found =
        measure_loss(inference, dataset, sources, objectives, config.training.global_batch);
    if (!found) continue;
    const std::string set = set_name(path);
    results.metrics.emplace_back(set + ": loss", found->loss);
    std::vector<TableValue> values{loss_value(found->loss)};
    for (std::size_t i = 0; i < objectives.size() && objectives.size() > 1; ++i) {
      const double* const loss = find(found->parts, objectives[i].name);
      values.push_back(loss == nullptr ? TableValue() : loss_value(*loss));
      if (loss == nullptr) continue;
      results.metrics.emplace_back(fmt::format("{}: loss.{}", set, objectives[i].name), *loss);
    }
    table.subjects.push_back({.name = set, .notes = {}, .rows = {{"model", std::move(values)}}});
  }
  if (!table.subjects.empty()) results.panels.push_back(std::move(table));
  return results;
}

}  // namespace

InferenceOptions inference_options(const RunConfig& config) {
  return {.batch = config.evaluation.batch, .threads = config.data.threads, .text_role = config.task->text_role()};
}

std::vector<SharedFact> check_evaluation_sets(const RunConfig& config, bool is_probe) {
  if (config.evaluation.sets.empty()) {
    throw UserError("evaluation.sets", "names no data set. Set it, for example to [\"data/emoji/unseen_style\"]");
  }
  std::vector<SharedFact> facts;
  for (const std::string& path : config.evaluation.sets) {
    const Dataset set = Dataset::open(path);
    if (!is_probe) config.task->check_evaluation_set(set);
    facts.push_back({fmt::format("samples of {} (hash)", path), set.content_hash().hex()});
  }
  return facts;
}

EvaluationResults measure_sets(const RunConfig& config, Inference& inference, const EvaluationInputs& inputs) {
  EvaluationResults results = config.task->evaluate(inference, inputs);
  append_results(results, losses_of(config, inference, inputs));
  return results;
}

HeldOut::HeldOut(const RunConfig& config, Session& session, AdamW& optimizer,
                 std::shared_ptr<const Tokenizer> tokenizer, const ManifestValues* saved)
    : config_(&config),
      session_(&session),
      optimizer_(&optimizer),
      tokenizer_(std::move(tokenizer)),
      inference_(session.device(), session.mesh(), session.executor(), inference_options(config)) {
  if (saved == nullptr || !saved->contains(kMetric) || config.evaluation.best.empty()) return;
  const auto& then = std::get<std::string>(saved->at(kMetric));
  if (then != config.evaluation.best) {
    notes_.push_back(fmt::format("evaluation.best was \"{}\": the best so far by \"{}\" is looked for from here on",
                                 then, config.evaluation.best));
    return;
  }
  best_ = get_double(*saved, kBest);
  best_step_ = static_cast<int64_t>(get_uint64(*saved, kBestStep));
  since_best_ = static_cast<int64_t>(get_uint64(*saved, kSinceBest));
}

bool HeldOut::is_due(int64_t step) const {
  return step % config_->evaluation.every == 0 || step == config_->training.steps;
}

EvaluationLine HeldOut::measure(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<AveragesInPlace> averages;
  if (config_->evaluation.weights == SavedWeights::kAverage) averages.emplace(*session_, *optimizer_);
  EvaluationLine line{.step = step, .seconds = 0, .is_best = false, .metrics = {}};
  std::optional<WeightsHeld> held(std::in_place, *session_);
  line.metrics = measure_sets(*config_, inference_,
                              {.sets = config_->evaluation.sets, .tokenizer = tokenizer_, .baselines = {}, .maps = 0})
                     .metrics;
  held.reset();
  averages.reset();
  judge(line);
  line.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return line;
}

// The first rank has the numbers; all take what it found.
void HeldOut::judge(EvaluationLine& line) {
  const std::string& metric = config_->evaluation.best;
  if (metric.empty()) return;
  Group& world = session_->mesh().world();
  double value = 0;
  together(world, [&] {
    if (world.rank() != 0) return;
    const double* const found = find(line.metrics, metric);
    if (found != nullptr) {
      value = *found;
      return;
    }
    std::string names;
    for (const auto& [name, number] : line.metrics) names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", name);
    throw UserError("evaluation.best",
                    fmt::format("must name what is measured, found \"{}\". Name one of {}", metric, names));
  });
  world.broadcast(&value, 1, DType::kFloat64, 0)->wait();
  if (line.step == 0) return;
  const bool is_first = best_step_ < 0;
  const bool is_better = is_smaller_better(metric) ? value < best_ : value > best_;
  line.is_best = std::isfinite(value) && (is_first || is_better);
  if (!line.is_best) {
    ++since_best_;
    return;
  }
  best_ = value;
  best_step_ = line.step;
  since_best_ = 0;
}

bool HeldOut::is_exhausted() const {
  return config_->evaluation.patience > 0 && since_best_ >= config_->evaluation.patience;
}

void HeldOut::save(ManifestValues& extra) const {
  if (best_step_ < 0) return;
  extra[kMetric] = config_->evaluation.best;
  extra[kBest] = best_;
  extra[kBestStep] = static_cast<uint64_t>(best_step_);
  extra[kSinceBest] = static_cast<uint64_t>(since_best_);
}

std::string evaluation_text(const EvaluationLine& line, const std::string& metric) {
  std::string text = line.step == 0 ? "before the first step" : fmt::format("after step {}", line.step);
  text += fmt::format(" ({:.1f} s):", line.seconds);
  std::string told;
  for (const auto& [name, value] : line.metrics) {
    if (!name.ends_with(": loss") && name != metric) continue;
    told += fmt::format("{} {} {:.4f}", told.empty() ? "" : ",", name, value);
  }
  return fmt::format("evaluation {}{}{}", text, told, line.is_best ? " (the best so far)" : "");
}

}  // namespace triptych::training
