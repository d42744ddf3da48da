#include "training/trainer.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/file.h"
#include "checkpoint/checkpoint_folder.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "kernels/gemm_peak.h"
#include "report/metrics.h"
#include "report/progress_line.h"
#include "training/agreement.h"
#include "training/evaluation.h"
#include "training/session.h"
#include "training/step.h"

namespace triptych {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr const char* kTokenizerFile = "tokenizer.model";
constexpr const char* kLossScale = "loss_scale";

class Trainer {
 public:
  Trainer(const RunConfig& config, World& world, const TrainingRequest& request)
      : config_(config), group_(world.group()), is_first_(world.group().rank() == 0) {
    folder_ = config.run.dir;
    together(group_, [&] { open_inputs(request); });
    session_.emplace(config_, group_, rank_place(config_, world.node_rank(), world.node_size()));
    together(group_, [&] {
      optimizer_.emplace(session_->device(), session_->store().all(), config_.adamw);
      restore();
    });
    together(group_, [&] { start_loader(); });
    steps_.emplace(*session_, *optimizer_);
  }

  void run() {
    const int64_t end = config_.training.stop_after > 0 ? config_.training.stop_after : config_.training.steps;
    std::optional<MetricsWriter> metrics;
    std::optional<ProgressLine> progress;
    together(group_, [&] {
      if (!is_first_) return;
      if (!reader_)
        std::filesystem::remove_all(checkpoints());  // of the run that this one replaces, as it was asked to
      std::filesystem::create_directories(folder_);
      write_file_atomically(folder_ / "config.toml", config_.effective_toml);
      metrics.emplace(folder_, step_);
      progress.emplace(end);
    });
    const int64_t parameters = session_->num_parameters();
    if (is_first_) announce(*progress, parameters, end);
    int64_t saved = reader_ ? step_ : -1;
    last_report_ = Clock::now();
    while (step_ < end) {
      queue_one_step();
      const bool save_now = step_ == end || (config_.checkpoint.every > 0 && step_ % config_.checkpoint.every == 0);
      if (step_ < end) feeder_->prefetch();
      // Of the step before this one, or of this one too if it is done or its weights are to be saved.
      while (const std::unique_ptr<StepReport> report = steps_->take(save_now ? 0 : 1)) {
        const StepMetrics line = metrics_of(*report);
        if (!is_first_) continue;
        metrics->write(line);
        progress->update(line);
      }
      if (save_now) {
        save(progress, metrics);
        saved = step_;
        last_report_ = Clock::now();
      }
    }
    if (saved != step_) save(progress, metrics);
    if (is_first_) {
      progress->finish();
      write_run_report(config_, parameters, nullptr);
    }
  }

 private:
  std::filesystem::path checkpoints() const { return folder_ / "checkpoints"; }

  void open_inputs(const TrainingRequest& request) {
    if (config_.data.path.empty()) throw UserError("data.path", "must name a data set. Set it in the config");
    dataset_ = std::make_shared<const Dataset>(Dataset::open(config_.data.path));
    check_pairs();
    if (request.resume.empty()) {
      if (!request.overwrite && !list_steps(checkpoints()).empty()) {
        throw UserError(folder_.string(),
                        "holds a run already. Go on with `--resume latest`, choose another run.dir, or "
                        "replace it with `--overwrite`");
      }
      const std::filesystem::path path = config_.data.tokenizer.empty()
                                             ? std::filesystem::path(config_.data.path) / kTokenizerFile
                                             : std::filesystem::path(config_.data.tokenizer);
      if (!std::filesystem::exists(path)) {
        throw UserError(path.string(),
                        fmt::format("there is no tokenizer. Make one: triptych tokenizer train {}", config_.data.path));
      }
      tokenizer_ = Tokenizer::from_file(path);
    } else {
      reader_.emplace(CheckpointReader::open(checkpoints(), request.resume));
      tokenizer_ = Tokenizer::from_bytes(reader_->read_file(kTokenizerFile), reader_->folder().string());
    }
    tokenizer_->check_fits(config_.model.text.vocabulary);
  }

  // A row without its partner would be taught as a pair.
  void check_pairs() const {
    uint64_t lacking = 0, example = 0;
    for (uint64_t i = 0; i < dataset_->size(); ++i) {
      const SampleRecord record = dataset_->record(i);
      if (record.has_image() && record.has_captions()) continue;
      if (lacking++ == 0) example = i;
    }
    if (lacking > 0) {
      throw UserError(
          config_.data.path,
          fmt::format("the contrastive objectives need pairs; {} of {} samples lack the image or the caption, "
                      "such as {}. Leave them out of the data set",
                      lacking, dataset_->size(), dataset_->sample_name(example)));
    }
  }

  // Everything that makes the rest of the run the same as if it had not stopped.
  void restore() {
    if (!reader_) return;
    const RunState& state = reader_->manifest().run;
    const std::string where = reader_->folder().string();
    if (state.model != session_->model().fingerprint) {
      throw UserError(where,
                      fmt::format("is a checkpoint of another model.\n  checkpoint: {}\n  config:     {}\nUse the "
                                  "config it was made with ({})",
                                  state.model, session_->model().fingerprint, "config.toml in its run's folder"));
    }
    const auto same = [&](const ManifestValues& values, const std::string& key, uint64_t now, std::string_view name) {
      const uint64_t then = get_uint64(values, key);
      if (then != now) {
        throw UserError(where, fmt::format("was made with {} = {}, the config says {}. The order of samples and random "
                                           "numbers would change: use the old value, or start a new run",
                                           name, then, now));
      }
    };
    same(state.random, "seed", config_.run.seed, "run.seed");
    same(state.cursor, "global_batch", static_cast<uint64_t>(config_.training.global_batch), "training.global_batch");
    same(state.cursor, "num_samples", dataset_->size(), "a data set of samples");
    load_states(*reader_, *session_, optimizer_->states());
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
    options.fields = sources_of(field_sources(config_.model, tokenizer_, config_.data.augment), names);
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
    loader_.emplace(dataset_, std::move(options));
    feeder_.emplace(session_->device(), *loader_, names);
  }

  void announce(ProgressLine& progress, int64_t parameters, int64_t end) {
    const MeshShape& m = config_.parallel.mesh;
    progress.print(
        fmt::format("{} parameters, {} samples, pp {} x dp {} x tp {}, {}, {} microbatches, batch {}, steps {} to {}",
                    parameters, dataset_->size(), m.pp, m.dp, m.tp, config_.parallel.schedule,
                    config_.parallel.microbatches, config_.training.global_batch, step_ + 1, end));
  }

  void queue_one_step() {
    const Fields& batch = feeder_->next();
    steps_->run(batch.cut(config_.parallel.microbatches), step_, learning_rate(config_.learning_rate, step_));
    ++step_;
  }

  // A step's time is that from the report before it to its own.
  StepMetrics metrics_of(const StepReport& report) {
    const double elapsed = milliseconds_since(last_report_);
    skipped_ = report.num_skipped;
    loss_scale_ = report.loss_scale;
    StepMetrics line;
    line.step = report.step;
    line.loss = report.loss;
    line.grad_norm = report.grad_norm;
    line.learning_rate = learning_rate(config_.learning_rate, report.step - 1);
    line.scalars = {{"temperature", std::exp(-report.log_scale)}};
    line.step_ms = elapsed;
    line.loader_wait_ms = feeder_->take_wait_ms();
    line.samples_per_s = static_cast<double>(config_.training.global_batch) / elapsed * 1e3;
    line.tflops = (session_->model().forward_flops() + session_->model().backward_flops()) * line.samples_per_s / 1e12;
    if (peak_ == 0) measure_peak();
    line.peak_share = line.tflops * 1e12 / peak_;
    line.rss_mb = resident_mb();
    line.skipped = skipped_;
    last_report_ = Clock::now();
    return line;
  }

  // After the first step, so that it does not delay the start; on all ranks at once, as they compute.
  void measure_peak() {
    peak_ = measure_gemm_peak(session_->device().stream(), config_.training.precision);
    group_.all_reduce(&peak_, 1, DType::kFloat64, ReduceOp::kSum)->wait();
  }

  void save(std::optional<ProgressLine>& progress, std::optional<MetricsWriter>& metrics) {
    RunState state;
    state.step = step_;
    state.skipped_steps = skipped_;
    state.model = session_->model().fingerprint;
    state.config = config_.effective_toml;
    state.cursor = {{"step", uint64_t(step_)},
                    {"global_batch", uint64_t(config_.training.global_batch)},
                    {"num_samples", uint64_t(dataset_->size())},
                    {"data_set", dataset_->data_set_id()}};
    state.random = {{"seed", config_.run.seed}, {"counter", uint64_t(step_)}};
    state.extra = {{kLossScale, loss_scale_}};
    const MeshShape& m = config_.parallel.mesh;
    state.mesh = {{"pp", m.pp}, {"dp", m.dp}, {"tp", m.tp}};
    const std::vector<ExtraFile> extra{{kTokenizerFile, tokenizer_->bytes()}};
    together(group_, [&] {
      if (is_first_) metrics->sync();
    });
    try {
      CheckpointWriter writer(checkpoints(), config_.checkpoint.keep, coordinator_of(group_));
      const OwnedPieces owned = owned_pieces(session_->mesh(), optimizer_->states());
      const SaveResult result = writer.save(state, owned.pieces, extra);
      if (is_first_) {
        progress->print(fmt::format("saved {}", result.folder.string()));
        for (const std::string& warning : result.warnings) progress->print("warning: " + warning);
      }
    } catch (const Error& error) {  // the writer throws the same on every rank
      throw AgreedError(error.kind(), error.what());
    }
  }

  RunConfig config_;
  Group& group_;
  bool is_first_;
  std::filesystem::path folder_;
  std::shared_ptr<const Dataset> dataset_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<CheckpointReader> reader_;
  std::optional<Session> session_;
  std::optional<AdamW> optimizer_;
  std::optional<Loader> loader_;
  std::optional<BatchFeeder> feeder_;
  std::optional<TrainingStep> steps_;
  int64_t step_ = 0;     // queued so far
  int64_t skipped_ = 0;  // as the last report says
  double loss_scale_ = 0;
  double peak_ = 0;
  Clock::time_point last_report_;
};

}  // namespace

void train(const RunConfig& config, World& world, const TrainingRequest& request) {
  Trainer(config, world, request).run();
}

}  // namespace triptych
