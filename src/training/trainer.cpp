#include "training/trainer.h"

#include <filesystem>
#include <memory>
#include <optional>

#include "base/file.h"
#include "execution/batch_feeder.h"
#include "parallel/agreement.h"
#include "report/metrics.h"
#include "report/progress_line.h"
#include "training/run_checkpoint.h"
#include "training/run_report.h"
#include "training/session.h"
#include "training/step.h"
#include "training/step_log.h"

namespace triptych::training {
namespace {

constexpr const char* kLossScale = "loss_scale";

class Trainer {
 public:
  Trainer(const RunConfig& config, World& world, const TrainingRequest& request)
      : config_(config), group_(world.group()), is_first_(world.group().rank() == 0) {
    together(group_, [&] { inputs_ = open_run_inputs(config_, request); });
    session_.emplace(config_, group_, rank_place(config_, world));
    together(group_, [&] {
      optimizer_.emplace(session_->device(), session_->store().all(), config_.adamw);
      if (inputs_.checkpoint) restore(*inputs_.checkpoint);
    });
    together(group_, [&] { start_loader(); });
    steps_.emplace(*session_, *optimizer_);
  }

  void run() {
    const int64_t end = config_.training.stop_after > 0 ? config_.training.stop_after : config_.training.steps;
    const std::filesystem::path folder = config_.run.dir;
    together(group_, [&] {
      if (!is_first_) return;
      if (!inputs_.checkpoint)
        std::filesystem::remove_all(checkpoints_of(config_));  // of the run that this one replaces, as it was asked to
      std::filesystem::create_directories(folder);
      write_file_atomically(folder / "config.toml", config_.effective_toml);
      metrics_.emplace(folder, step_);
      progress_.emplace(end);
    });
    const int64_t parameters = session_->num_parameters();
    if (is_first_) announce(parameters, end);
    int64_t saved = inputs_.checkpoint ? step_ : -1;
    StepLog log(config_, *session_);
    while (step_ < end) {
      const Fields& batch = feeder_->next();
      steps_->run(batch.cut(config_.parallel.microbatches), step_, learning_rate(config_.learning_rate, step_));
      ++step_;
      const bool save_now = step_ == end || (config_.checkpoint.every > 0 && step_ % config_.checkpoint.every == 0);
      if (step_ < end) feeder_->prefetch();
      // Of the step before this one, or of this one too if it is done or its weights are to be saved.
      while (const std::unique_ptr<StepReport> report = steps_->take(save_now ? 0 : 1)) tell(log, *report);
      if (!save_now) continue;
      save();
      saved = step_;
      log.start_clock();
    }
    if (saved != step_) save();
    if (!is_first_) return;
    progress_->finish();
    write_run_report(config_, parameters, {});
  }

 private:
  // Everything that makes the rest of the run the same as if it had not stopped.
  void restore(CheckpointReader& reader) {
    require_same_model(reader, *session_);
    const RunState& state = reader.manifest().run;
    const auto same = [&](const ManifestValues& values, const std::string& key, uint64_t now, std::string_view name) {
      const uint64_t then = get_uint64(values, key);
      if (then == now) return;
      throw UserError(reader.folder().string(),
                      fmt::format("was made with {} = {}, the config says {}. The order of samples and random "
                                  "numbers would change: use the old value, or start a new run",
                                  name, then, now));
    };
    same(state.random, "seed", config_.run.seed, "run.seed");
    same(state.cursor, "global_batch", static_cast<uint64_t>(config_.training.global_batch), "training.global_batch");
    same(state.cursor, "num_samples", inputs_.dataset->size(), "a data set of samples");
    load_states(reader, *session_, optimizer_->states());
    step_ = state.step;
    skipped_ = state.skipped_steps;
    loss_scale_ = state.extra.contains(kLossScale) ? get_double(state.extra, kLossScale) : 0;
    // The bias correction counts updates that happened.
    optimizer_->restore(step_ - skipped_, skipped_, static_cast<float>(loss_scale_));
  }

  void start_loader() {
    const std::vector<std::string> names = session_->executor().fields();
    const Mesh& mesh = session_->mesh();
    LoaderOptions options;
    const std::vector<FieldSource> sources = config_.task->fields(inputs_.tokenizer);
    options.fields = sources_of(sources, names);
    options.check_unused_images = reads_images(sources);
    options.global_batch = config_.training.global_batch;
    options.dp_rank = mesh.rank(Axis::kDp);
    options.dp_size = mesh.size(Axis::kDp);
    options.seed = config_.run.seed;
    options.threads = config_.data.threads;
    options.prefetch = config_.data.prefetch;
    options.max_bad_fraction = config_.data.max_bad_fraction;
    options.start_step = step_;
    if (mesh.rank(Axis::kTp) == 0 && mesh.coordinate().pp == 0) {
      options.on_bad_sample = [](const BadSample& bad) {
        fmt::print(stderr, "triptych: warning: {} is replaced: {}\n", bad.name, bad.reason);
      };
    }
    loader_.emplace(inputs_.dataset, std::move(options));
    feeder_.emplace(session_->device(), *loader_, names);
  }

  void announce(int64_t parameters, int64_t end) {
    const MeshShape& m = config_.parallel.mesh;
    progress_->print(
        fmt::format("{} parameters, {} samples, pp {} x dp {} x tp {}, {}, {} microbatches, batch {}, steps {} to {}",
                    parameters, inputs_.dataset->size(), m.pp, m.dp, m.tp, config_.parallel.schedule,
                    config_.parallel.microbatches, config_.training.global_batch, step_ + 1, end));
  }

  void tell(StepLog& log, const StepReport& report) {
    skipped_ = report.num_skipped;
    loss_scale_ = report.loss_scale;
    const StepMetrics line = log.line(report, feeder_->take_wait_ms());
    if (!is_first_) return;
    metrics_->write(line);
    progress_->update(line);
  }

  void save() {
    const Dataset& dataset = *inputs_.dataset;
    RunState state;
    state.step = step_;
    state.skipped_steps = skipped_;
    state.model = session_->model().fingerprint;
    state.config = config_.effective_toml;
    state.cursor = {{"step", uint64_t(step_)},
                    {"global_batch", uint64_t(config_.training.global_batch)},
                    {"num_samples", uint64_t(dataset.size())},
                    {"data_set", dataset.data_set_id()}};
    state.random = {{"seed", config_.run.seed}, {"counter", uint64_t(step_)}};
    state.extra = {{kLossScale, loss_scale_}};
    const MeshShape& m = config_.parallel.mesh;
    state.mesh = {{"pp", m.pp}, {"dp", m.dp}, {"tp", m.tp}};
    together(group_, [&] {
      if (is_first_) metrics_->sync();
    });
    CheckpointWriter writer(checkpoints_of(config_), config_.checkpoint.keep, group_);
    const OwnedPieces owned = owned_pieces(session_->mesh(), optimizer_->states());
    const SaveResult result = writer.save(state, owned.pieces, extra_files(inputs_.tokenizer.get()));
    if (!is_first_) return;
    progress_->print(fmt::format("saved {}", result.folder.string()));
    for (const std::string& warning : result.warnings) progress_->print("warning: " + warning);
  }

  RunConfig config_;
  Group& group_;
  bool is_first_;
  RunInputs inputs_;
  std::optional<Session> session_;
  std::optional<AdamW> optimizer_;
  std::optional<Loader> loader_;
  std::optional<BatchFeeder> feeder_;
  std::optional<TrainingStep> steps_;
  std::optional<MetricsWriter> metrics_;  // of rank 0, as the next
  std::optional<ProgressLine> progress_;
  int64_t step_ = 0;     // queued so far
  int64_t skipped_ = 0;  // as the last report says
  double loss_scale_ = 0;
};

}  // namespace

void train(const RunConfig& config, World& world, const TrainingRequest& request) {
  Trainer(config, world, request).run();
}

}  // namespace triptych::training
