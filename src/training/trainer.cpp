#include "training/trainer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "base/console.h"
#include "checkpoint/checkpoint_folder.h"
#include "parallel/agreement.h"
#include "report/metrics.h"
#include "report/progress_line.h"
#include "training/finite.h"
#include "training/held_out.h"
#include "training/init_from.h"
#include "training/loss_watch.h"
#include "training/machines_text.h"
#include "training/rank_clock.h"
#include "training/run_checkpoint.h"
#include "training/run_journal.h"
#include "training/run_report.h"
#include "training/run_start.h"
#include "training/session.h"
#include "training/source_notes.h"
#include "training/step.h"
#include "training/step_log.h"
#include "training/training_batches.h"

namespace triptych::training {
namespace {

constexpr const char* kLossScale = "loss_scale";
constexpr const char* kThawedUpdates = "updates_since_thaw_at_";  // with the step behind it

// "SIGUSR1".
std::string signal_name(int number) {
  const char* const name = ::sigabbrev_np(number);
  return name == nullptr ? fmt::format("{}", number) : fmt::format("SIG{}", name);
}

class Trainer {
 public:
  Trainer(const RunConfig& config, World& world, const TrainingRequest& request)
      : config_(config),
        request_(request),
        world_(world),
        group_(world.group()),
        is_first_(world.group().rank() == 0),
        start_(config_, world, request),
        inputs_(start_.inputs()) {
    session_.emplace(config_, group_, rank_place(config_, world));
    if (inputs_.initial) initial_ = take_parameters(*inputs_.initial, config_.init, *session_);
    together(group_, [&] {
      optimizer_.emplace(session_->device(), session_->store().all(), config_.adamw, session_->treatments());
      if (inputs_.checkpoint) restore(*inputs_.checkpoint);
    });
    together(group_, [&] { batches_.emplace(config_, *session_, group_, inputs_, step_); });
    session_->executor().set_trace(&trace_.emplace(world_, session_->mesh(), request.trace).trace());
    steps_.emplace(*session_, *optimizer_);
    if (config_.evaluation.every > 0) {
      held_out_.emplace(config_, *session_, *optimizer_, inputs_.tokenizer,
                        inputs_.checkpoint ? &inputs_.checkpoint->manifest().run.extra : nullptr);
    }
    watch_.emplace(LossWatch::Options{.max_skipped = config_.training.max_skipped_steps,
                                      .num_skipped = skipped_,
                                      .scales_loss = config_.adamw.scale_loss});
    if (request.on_start) request.on_start();
  }

  TrainingEnd run() {
    const int64_t end = start_.end();
    parameters_ = session_->num_parameters();
    hosts_ = group_.all_gather_string(world_.host());
    const bool is_complete = start_.is_complete() || (held_out_ && held_out_->is_exhausted());
    if (!is_complete) trace_->require_within(step_ + 1, end);
    together(group_, [&] {
      if (!is_first_) return;
      if (is_complete) {
        start_.name_last_save();
      } else {
        start_.begin();
        if (held_out_) begin_evaluations();
        open_journal();
      }
      if (initial_) start_.write_init(initial_->to_json());
      progress_.emplace(end);
      for (const std::string& note : start_.notes()) progress_->print(note);
      if (initial_) {
        for (const std::string& note : initial_->notes()) progress_->print(note);
      }
    });
    if (is_complete) {
      if (is_first_) progress_->print(complete_text());
      return {.step = step_};
    }
    if (is_first_) announce(end);
    int64_t saved = inputs_.checkpoint ? step_ : -1;
    if (held_out_ && step_ == 0) evaluate();
    StepLog log(config_, *session_);
    clock_.emplace(world_, group_.rank(), session_->mesh().coordinate());
    const int64_t first = step_ + 1;
    const auto wants_to_stop = [this] { return request_.stop_signal && request_.stop_signal() != 0; };
    while (step_ < std::min(end, halt_at_)) {
      if (session_->treatments().thaws_at(step_)) thaw();
      trace_->begin(step_ + 1);
      run_step(wants_to_stop, step_ + 1 == end);
      ++step_;
      const bool save_now = step_ == end || (config_.checkpoint.every > 0 && step_ % config_.checkpoint.every == 0);
      // Of the step before this one, or of this one too if it is done or its weights are to be saved. The first one's,
      // with which all ranks measure the peak together, comes on every rank before another step: who had queued one
      // already would wait in it for those who measure.
      const bool evaluate_now = held_out_ && held_out_->is_due(step_);
      const bool waits = save_now || evaluate_now || step_ == first;
      while (const std::unique_ptr<StepReport> report = steps_->take(waits ? 0 : 1)) tell(log, *report);
      if (std::has_single_bit(static_cast<uint64_t>(step_ - first + 1))) gather_times();
      if (trace_->is_last(step_)) {
        write_trace();
        log.start_clock();
        clock_->start();
      }
      const bool is_best = evaluate_now && evaluate();
      if (evaluate_now) {
        log.start_clock();
        clock_->start();
      }
      // While numbers are not finite there is nothing new to keep, and good checkpoints would be removed for it.
      if (!is_best && !(save_now && watch_->is_sound())) continue;
      save();
      if (is_best) name_best();
      saved = step_;
      log.start_clock();
      clock_->start();
    }
    while (const std::unique_ptr<StepReport> report = steps_->take(0)) tell(log, *report);
    if (trace_->trace().is_on()) write_trace();  // the run ends before the last step that was asked for
    if (watch_->is_lost()) throw_lost();
    if (saved != step_) save();
    const TrainingEnd result{.step = step_, .stop_signal = step_ < end && !is_exhausted() ? agreed_signal() : 0};
    if (!is_first_) return result;
    progress_->finish();
    write_report(result);
    if (is_exhausted()) progress_->print(complete_text());
    if (result.stop_signal != 0) {
      progress_->print(fmt::format("stopped after step {} of {}, as signal {} asked. Go on with --resume latest", step_,
                                   end, signal_name(result.stop_signal)));
    }
    return result;
  }

 private:
  // The next step, from the wait for its batch to that for the batch behind it.
  void run_step(const std::function<bool()>& wants_to_stop, bool is_last) {
    Trace* const trace = &trace_->trace();
    const TraceScope scope(trace, "step", [&] { return fmt::format("step {}", step_ + 1); });
    const auto wait = [&](const std::function<void()>& for_batch) {
      const TraceScope waiting(trace, "loader", [] { return std::string("the next batch"); });
      clock_->for_loader(for_batch);
    };
    world_.doing(fmt::format("the batch of step {}", step_ + 1));
    const Fields* batch = nullptr;
    wait([&] { batch = &batches_->next(); });
    world_.doing(fmt::format("step {}", step_ + 1));
    steps_->run(batch->cut(config_.parallel.microbatches), step_, learning_rate(config_.learning_rate, step_),
                wants_to_stop);
    if (!is_last) wait([&] { batches_->prefetch(); });
  }

  void write_trace() {
    together(group_, [&] {
      trace_->write(step_, config_.run.dir, [this](const std::string& text) { progress_->print(text); });
    });
  }

  // Parameters that were frozen until now begin to be trained.
  void thaw() {
    together(group_, [&] {
      session_->train_at(step_);
      optimizer_->thaw(step_);
    });
    if (is_first_) progress_->print(fmt::format("what thaws at step {} is trained from here on", step_));
  }

  // Everything that makes the rest of the run the same as if it had not stopped. What thaws at the checkpoint's step
  // was frozen until then.
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
    session_->train_at(std::max<int64_t>(0, state.step - 1));
    optimizer_->thaw(state.step - 1);
    load_states(reader, *session_, optimizer_->states());
    require_finite_model(first_not_finite(*session_), reader.folder());
    step_ = state.step;
    skipped_ = state.skipped_steps;
    loss_scale_ = state.extra.contains(kLossScale) ? get_double(state.extra, kLossScale) : 0;
    // The bias correction counts updates that happened.
    optimizer_->restore(step_ - skipped_, skipped_, static_cast<float>(loss_scale_));
    std::map<int64_t, int64_t> thawed = optimizer_->thawed_updates();
    for (auto& [first, count] : thawed) {
      count = static_cast<int64_t>(get_uint64(state.extra, fmt::format("{}{}", kThawedUpdates, first)));
    }
    optimizer_->restore_thawed(thawed);
  }

  void open_journal() {
    journal_.emplace(config_,
                     RunJournal::Options{.step = step_,
                                         .facts = report_facts(config_, parameters_, inputs_.dataset->size(), hosts_),
                                         .last_step = config_.training.steps,
                                         .planned = request_.planned,
                                         .warn = [](const std::string& text) { print_warning(text); }});
  }

  // So that the next report shows where each rank's time goes: behind saves, and steps 1, 2, 4, 8, ... of this part of
  // the run. Collective.
  void gather_times() {
    std::vector<RankTime> ranks = clock_->gather(group_, session_->device().memory().peak_used_bytes);
    if (is_first_) journal_->set_ranks(std::move(ranks));
  }

  void announce(int64_t end) {
    progress_->print(fmt::format("{} parameters, {} samples, {}, {}, {} microbatches, batch {}, steps {} to {}",
                                 parameters_, inputs_.dataset->size(), mesh_text(config_.parallel),
                                 config_.parallel.schedule, config_.parallel.microbatches,
                                 config_.training.global_batch, step_ + 1, end));
    if (world_.machines().count() > 1) progress_->print(machines_text(world_, session_->mesh()));
    for (const std::string& note : notes_of_sources(*inputs_.dataset, inputs_.weights, batch_size())) {
      progress_->print(note);
    }
  }

  uint64_t batch_size() const { return static_cast<uint64_t>(config_.training.global_batch); }

  bool is_exhausted() const { return held_out_ && held_out_->is_exhausted(); }

  std::string complete_text() const {
    if (step_ == start_.end() || !is_exhausted()) {
      return fmt::format("step {} is done: the run is complete, nothing is left to do", step_);
    }
    return fmt::format(
        "ended after step {}: {} evaluations were no better than that after step {} (evaluation.patience). Raise it to "
        "go on with --resume latest",
        step_, held_out_->since_best(), held_out_->best_step());
  }

  // Of rank 0. The file `best` says what the checkpoint that the run goes on from knows: what came later counts no
  // more.
  void begin_evaluations() {
    evaluations_.emplace(config_.run.dir, step_);
    for (const std::string& note : held_out_->notes()) start_.add_note(note);
    std::vector<std::string> warnings;
    const std::filesystem::path folder = checkpoints_of(config_);
    const int64_t best = held_out_->best_step();
    const std::vector<int64_t> steps = list_steps(folder);
    const bool is_there = std::find(steps.begin(), steps.end(), best) != steps.end();
    if (best >= 0 && !is_there) {
      start_.add_note(
          fmt::format("the best so far, of step {}, is not in {} any more: `best` is there again once an "
                      "evaluation is better",
                      best, folder.string()));
    }
    write_best(folder, is_there ? best : -1, warnings);
    for (const std::string& warning : warnings) start_.add_note("warning: " + warning);
  }

  // Whether it is the best so far. All steps before have been told.
  bool evaluate() {
    world_.doing(fmt::format("the evaluation after step {}", step_));
    const EvaluationLine line = held_out_->measure(step_);
    if (held_out_->is_exhausted()) halt_at_ = std::min(halt_at_, step_);
    if (is_first_) {
      evaluations_->write(line);
      journal_->add(line);
      progress_->print(evaluation_text(line, config_.evaluation.best));
    }
    return line.is_best;
  }

  // The checkpoint that was saved now. What was named before is removed by a later save, if it is more than are kept.
  void name_best() {
    together(group_, [&] {
      if (!is_first_) return;
      std::vector<std::string> warnings;
      write_best(checkpoints_of(config_), step_, warnings);
      for (const std::string& warning : warnings) progress_->print("warning: " + warning);
    });
  }

  void tell(StepLog& log, const StepReport& report) {
    skipped_ = report.num_skipped;
    loss_scale_ = report.loss_scale;
    const std::string warning = watch_->see(report);
    // Other ranks may have queued that many steps when they see this report.
    if (watch_->is_lost() || report.num_stopping > 0) {
      halt_at_ = std::min(halt_at_, report.step + steps_->most_newer());
    }
    clock_->stop();
    StepMetrics line = log.line(report, batches_->take_wait_ms());
    add_source_samples(inputs_.weights, static_cast<uint64_t>(report.step) * batch_size(), line);
    clock_->add(line);
    if (!is_first_) return;
    journal_->add(line);
    progress_->update(line);
    if (!warning.empty()) progress_->print("warning: " + warning);
  }

  // Of the first rank that was asked to stop.
  int agreed_signal() {
    const int mine = request_.stop_signal ? request_.stop_signal() : 0;
    for (const std::string& of_rank : group_.all_gather_string(fmt::format("{}", mine))) {
      if (of_rank != "0") return std::stoi(of_rank);
    }
    throw InternalError("training", fmt::format("the run stopped after step {}, and no rank was asked to", step_));
  }

  [[noreturn]] void throw_lost() {
    throw AgreedError(
        ErrorKind::kWorld,
        fmt::format("[training] a loss and its gradient must be finite: no step since step {} changed anything ({}), "
                    "and training.max_skipped_steps is {}. {}",
                    watch_->since(), watch_->cause(), config_.training.max_skipped_steps, remedy()));
  }

  // Whoever starts a stopped run again by its exit code must get that code: all is saved, and the run that goes on
  // writes the report anew.
  void write_report(const TrainingEnd& end) {
    try {
      std::string why;
      if (end.stop_signal != 0) {
        why = fmt::format("As signal {} asked.", signal_name(end.stop_signal));
      } else if (is_exhausted()) {
        why = "As evaluation.patience says.";
      } else if (end.step < config_.training.steps) {
        why = "As training.stop_after says.";
      }
      journal_->finish(why.empty() ? RunPhase::kFinished : RunPhase::kStopped, why);
    } catch (const Error& error) {
      if (end.stop_signal == 0) throw;
      progress_->print(fmt::format("warning: the report was not written: {}", error.what()));
    }
  }

  // What to do where numbers are not finite any more.
  std::string remedy() const {
    const std::string change = "Lower optimizer.learning_rate, warm up for longer or set training.clip_norm; then ";
    try {
      const std::vector<SavedStep> saves = list_saves(checkpoints_of(config_));
      if (saves.empty()) return change + "start anew: there is no checkpoint yet";
      return change + fmt::format("go on from the newest checkpoint (--resume {}) or an earlier one, or start anew",
                                  saves.back().step);
    } catch (const Error& error) {
      return fmt::format("{}go on from an earlier checkpoint or start anew. {}", change, error.what());
    }
  }

  // Where the last steps changed nothing nobody knows what the parameters are good for: nothing older gives way.
  void save() {
    const TraceScope scope(&trace_->trace(), "save", [&] { return fmt::format("the checkpoint of step {}", step_); });
    world_.doing(fmt::format("saving step {}", step_));
    const int64_t keep = watch_->is_sound() ? config_.checkpoint.keep : 0;
    const Dataset& dataset = *inputs_.dataset;
    RunState state;
    state.step = step_;
    state.skipped_steps = skipped_;
    state.model = session_->model().fingerprint;
    state.config = config_.effective_toml;
    state.cursor = {{"step", uint64_t(step_)},
                    {"global_batch", uint64_t(config_.training.global_batch)},
                    {"num_samples", uint64_t(dataset.size())},
                    {"data_set", dataset.data_set_id()},
                    {kDataHashKey, inputs_.data_hash}};
    if (!inputs_.order.empty()) state.cursor[kDataOrderKey] = inputs_.order;
    state.random = {{"seed", config_.run.seed}, {"counter", uint64_t(step_)}};
    state.extra = {{kLossScale, loss_scale_}, {"run_id", start_.run_id()}};
    for (const auto& [first, count] : optimizer_->thawed_updates()) {
      state.extra[fmt::format("{}{}", kThawedUpdates, first)] = static_cast<uint64_t>(count);
    }
    if (held_out_) held_out_->save(state.extra);
    const MeshShape& m = config_.parallel.mesh;
    state.mesh = {{"pp", m.pp}, {"dp", m.dp}, {"cp", m.cp}, {"tp", m.tp}};
    together(group_, [&] {
      const std::string bad = first_not_finite(session_->device(), optimizer_->states());
      if (!bad.empty()) {
        throw WorldError("training", fmt::format("what is saved must be finite: after step {}, {} holds an infinity or "
                                                 "NaN. Nothing was saved. {}",
                                                 step_, bad, remedy()));
      }
      if (is_first_) journal_->sync();
      if (evaluations_) evaluations_->sync();
    });
    CheckpointWriter writer(checkpoints_of(config_), keep, group_);
    const OwnedPieces owned = owned_pieces(session_->mesh(), optimizer_->states());
    const SaveResult result = writer.save(state, owned.pieces, extra_files(inputs_.tokenizer.get()));
    gather_times();
    if (!is_first_) return;
    progress_->print(fmt::format("saved {}", result.folder.string()));
    if (keep != config_.checkpoint.keep) {
      progress_->print(fmt::format("warning: steps {} to {} changed nothing ({}). Older checkpoints are kept",
                                   watch_->since(), step_, watch_->cause()));
    }
    for (const std::string& warning : result.warnings) progress_->print("warning: " + warning);
  }

  RunConfig config_;
  TrainingRequest request_;
  World& world_;
  Group& group_;
  bool is_first_;
  RunStart start_;
  RunInputs& inputs_;
  std::optional<StepTrace> trace_;  // outlives what it sees
  std::optional<Session> session_;
  std::optional<InitRecord> initial_;  // of a run that begins with another's parameters
  std::optional<AdamW> optimizer_;
  std::optional<TrainingBatches> batches_;
  std::optional<TrainingStep> steps_;
  std::optional<LossWatch> watch_;
  std::optional<RankClock> clock_;
  std::optional<HeldOut> held_out_;       // where it is evaluated while it trains
  std::optional<ProgressLine> progress_;  // of rank 0, as the next two
  std::optional<EvaluationLog> evaluations_;
  std::optional<RunJournal> journal_;
  int64_t parameters_ = 0;
  std::vector<std::string> hosts_;                         // by rank
  int64_t step_ = 0;                                       // queued so far
  int64_t halt_at_ = std::numeric_limits<int64_t>::max();  // the step behind which all ranks stop before the end
  int64_t skipped_ = 0;                                    // as the last report says
  double loss_scale_ = 0;
};

}  // namespace

TrainingEnd train(const RunConfig& config, World& world, const TrainingRequest& request) {
  return Trainer(config, world, request).run();
}

}  // namespace triptych::training
