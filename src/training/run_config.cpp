#include "training/run_config.h"

#include <algorithm>
#include <cmath>

#include "config/config_reader.h"
#include "training/data_config.h"
#include "training/parallel_config.h"
#include "training/resume_rules.h"

namespace triptych::training {
namespace {

// Words in the file, values in the program; filled by `read`, turned round by `resolve`.
struct Words {
  std::string task, recompute = "none", precision = "fp32", schedule{kLearningRateSchedules.front()};
  std::string evaluation_weights = "last", init_weights = "last";
};

void read_task_name(ConfigReader& reader, Words& words, TaskTable tasks) {
  std::vector<std::string> names;
  std::string summaries;
  for (const TaskKind& kind : tasks) {
    names.emplace_back(kind.name);
    summaries += fmt::format("{}{}: {}", summaries.empty() ? "" : "; ", kind.name, kind.summary);
  }
  words.task = names.front();
  reader.read("task", words.task, fmt::format("What the run learns. {}.", summaries))
      .one_of(std::span<const std::string>(names));
}

void read_run(ConfigReader& reader, RunConfig& c) {
  reader.read("run.dir", c.run.dir, "Folder of the run: checkpoints, metrics.jsonl, report.html.")
      .also_called({"output_dir", "out_dir", "log_dir", "logs", "save_dir"});
  reader.read("run.device", c.run.device, "The backend: cpu, or cuda with one GPU per rank (needs a build with CUDA).")
      .one_of({"cpu", "cuda"});
  reader.read("run.seed", c.run.seed, "Seed of initial weights, sample order, augmentation and dropout.")
      .also_called({"random_seed", "manual_seed"});
  reader.read("run.threads", c.run.threads, "Threads per rank; 0 shares the node's cores among its ranks.")
      .at_least(0)
      .at_most(1024)
      .also_called({"num_threads"});
  reader.read("run.timeout_s", c.run.timeout_s, "Seconds after which a peer that does not answer is an error.")
      .at_least(1)
      .at_most(10'000'000);
  reader.read(
      "run.cluster", c.run.cluster,
      "A file of the machines' rates, such as those of configs/clusters: the report then has what `triptych plan "
      "step` expects of a step beside what is measured.");
}

void read_training(ConfigReader& reader, RunConfig& c, Words& words) {
  TrainingOptions& t = c.training;
  reader.read("training.steps", t.steps, "Optimizer updates of the whole run; the learning rate ends there.")
      .at_least(1)
      .also_called({"epochs", "num_epochs", "num_train_epochs", "max_epochs", "max_steps", "num_steps", "total_steps",
                    "max_iters", "train_iters", "iterations"});
  reader
      .read("training.stop_after", t.stop_after,
            "Stop (with a checkpoint) after this many updates of the whole run; 0: at training.steps.")
      .at_least(0);
  reader
      .read("training.global_batch", t.global_batch,
            "Samples per step over all replicas; a multiple of parallel.dp * parallel.microbatches.")
      .at_least(1)
      .at_most(int64_t{1} << 24)
      .also_called({"batch_size", "train_batch_size", "global_batch_size", "local_batch_size", "micro_batch_size",
                    "per_device_train_batch_size"});
  reader
      .read("training.max_skipped_steps", t.max_skipped_steps,
            "The run ends after this many steps in a row whose loss or gradient is not finite; 0: never.")
      .at_least(0);
  reader
      .read("training.precision", words.precision,
            "Number format of activations and matrix products; weights, sums, norms and losses stay fp32. fp16, with a "
            "dynamic loss scale, needs run.device = \"cuda\".")
      .one_of({"fp32", "bf16", "fp16"})
      .also_called({"amp", "bf16", "fp16", "dtype", "mixed_precision"});
  reader.read("training.tf32", t.tf32,
              "Let the tensor cores round the inputs of fp32 matrix products to TF32; needs run.device = \"cuda\".");
  reader.read("training.clip_norm", c.adamw.clip_norm, "Gradients are scaled down to this global norm; 0: never.")
      .at_least(0)
      .also_called({"grad_clip", "clip_grad", "clip_grad_norm", "grad_clip_norm", "max_grad_norm", "max_norm",
                    "gradient_clip_val"});
  reader.read("optimizer.learning_rate", c.learning_rate.peak, "The peak of the learning rate.")
      .positive()
      .also_called({"lr", "base_lr", "max_lr", "peak_lr"});
  const std::vector<std::string> schedules(kLearningRateSchedules.begin(), kLearningRateSchedules.end());
  reader
      .read("optimizer.schedule", words.schedule,
            "The learning rate after its warm-up: half a cosine or a line down to final_share at training.steps, "
            "constant, or wsd (warm-up, stable, decay), constant but for a line down in the last decay_steps.")
      .one_of(std::span<const std::string>(schedules))
      .also_called({"lr_scheduler", "lr_scheduler_type", "lr_schedule", "lr_decay_style", "scheduler"});
  reader
      .read("optimizer.final_share", c.learning_rate.final_share,
            "Share of the peak at the last step; not with constant.")
      .at_least(0)
      .at_most(1)
      .also_called({"min_lr", "lr_end", "lr_min", "lr_cooldown_end"});
  reader.read("optimizer.warmup_steps", c.learning_rate.warmup_steps, "Steps of linear warm-up.")
      .at_least(0)
      .also_called({"warmup", "warmup_iters", "warmup_ratio", "num_warmup_steps", "lr_warmup_iters"});
  reader
      .read("optimizer.decay_steps", c.learning_rate.decay_steps,
            "With wsd: over how many of the last steps the rate falls. With 0, the run can be continued for more "
            "steps, and decay then.")
      .at_least(0);
  reader
      .read("optimizer.weight_decay", c.adamw.weight_decay,
            "Decoupled weight decay; norms, biases and scalars have none.")
      .at_least(0)
      .also_called({"wd", "adam_weight_decay"});
  reader.read("optimizer.beta1", c.adamw.beta1, "Decay rate of the first moment.")
      .at_least(0)
      .at_most(0.9999f)
      .also_called({"adam_beta1", "betas"});
  reader.read("optimizer.beta2", c.adamw.beta2, "Decay rate of the second moment.")
      .at_least(0)
      .at_most(0.99999f)
      .also_called({"adam_beta2"});
  reader.read("optimizer.epsilon", c.adamw.epsilon, "Added to the root of the second moment.")
      .positive()
      .also_called({"eps", "adam_eps", "adam_epsilon"});
  reader
      .read("optimizer.ema_decay", c.adamw.average_decay,
            "Decay rate of the moving average of the weights, which checkpoints hold beside them; 0: none is kept.")
      .at_least(0)
      .below(1);
}

void read_treatment(ConfigReader& reader, RunConfig& c) {
  reader
      .read("optimizer.layer_decay", c.treatment.layer_decay,
            "The learning rate of a block is multiplied by this for every block between it and the model's top.")
      .positive()
      .at_most(1)
      .also_called({"layer_wise_lr_decay", "llrd"});
  c.treatment.groups.resize(reader.num_tables("optimizer.groups"));
  for (std::size_t i = 0; i < c.treatment.groups.size(); ++i) {
    ParameterGroup& group = c.treatment.groups[i];
    const auto key = [&](std::string_view name) { return fmt::format("optimizer.groups.{}.{}", i, name); };
    group.weight_decay = c.adamw.weight_decay;
    reader
        .read(key("pattern"), group.pattern,
              "Pattern of parameters' names, `*` standing for any characters: \"image.*\". Of several groups that "
              "match a parameter the first counts; `triptych inspect --tensors` of a checkpoint lists the names.")
        .required();
    reader.read(key("learning_rate_scale"), group.learning_rate_scale, "What the learning rate is multiplied by.")
        .positive();
    reader.read(key("weight_decay"), group.weight_decay, "In place of optimizer.weight_decay, which is the default.")
        .at_least(0);
    reader.read(key("frozen"), group.frozen,
                "Not trained: it costs no gradient, no optimizer state, and no backward below the first part that is.");
    reader
        .read(key("thaw_step"), group.thaw_step,
              "A frozen group is trained once this many updates are done, with moments that begin at zero; 0: never.")
        .at_least(0);
    if (group.thaw_step > 0 && !group.frozen) {
      reader.problem(key("thaw_step"), fmt::format("is of a frozen group: {} steps, frozen = false", group.thaw_step),
                     "Set frozen = true, or leave it out");
    }
  }
}

void read_adapters(ConfigReader& reader, RunConfig& c) {
  c.adapters.resize(reader.num_tables("adapters"));
  for (std::size_t i = 0; i < c.adapters.size(); ++i) {
    AdapterOptions& adapter = c.adapters[i];
    const auto key = [&](std::string_view name) { return fmt::format("adapters.{}.{}", i, name); };
    reader
        .read(key("match"), adapter.match,
              "Patterns of matrices' names: [\"*.attention.*.weight\"]. Each is frozen, and two of low rank are "
              "trained beside it (LoRA); `triptych merge` adds them to it. Of several adapters that match a matrix the "
              "first counts.")
        .required()
        .not_empty();
    reader.read(key("rank"), adapter.rank, "Rank of both: A has this many rows, B this many columns.")
        .at_least(1)
        .at_most(65536);
    reader.read(key("alpha"), adapter.alpha, "What they add is multiplied by alpha / rank.").positive();
  }
}

void read_init(ConfigReader& reader, RunConfig& c, Words& words) {
  InitOptions& init = c.init;
  reader
      .read("init.from", init.from,
            "Checkpoint of another run, or that run's folder, of any mesh: a new run begins with those of its "
            "parameters that this model has by name. Not read again when the run is resumed.")
      .also_called({"pretrained", "pretrained_model", "model_name_or_path", "load", "finetune"});
  reader
      .read("init.weights", words.init_weights,
            "Which weights of that checkpoint: last, or ema, the moving average of a run with optimizer.ema_decay.")
      .one_of({"last", "ema"});
  reader.read("init.interpolate_positions", init.interpolate_positions,
              "Learned image positions of another grid are interpolated (bicubic) to this model's.");
  init.map.resize(reader.num_tables("init.map"));
  for (std::size_t i = 0; i < init.map.size(); ++i) {
    NameChange& change = init.map[i];
    const auto key = [&](std::string_view name) { return fmt::format("init.map.{}.{}", i, name); };
    reader
        .read(key("old"), change.old_pattern,
              "Pattern of names in the checkpoint, `*` standing for any characters. The first that matches a name "
              "counts; a name that none matches is kept.")
        .required()
        .not_empty();
    reader.read(key("new"), change.new_pattern,
                "The name in this model: its first `*` stands for what that of `old` did, and so on; empty: it is not "
                "taken.");
    const auto stars = [](const std::string& text) { return std::count(text.begin(), text.end(), '*'); };
    if (stars(change.new_pattern) > stars(change.old_pattern)) {
      reader.problem(
          key("new"),
          fmt::format("must have no more `*` than `old`: `{}` -> `{}`", change.old_pattern, change.new_pattern),
          "Give each `*` what it stands for");
    }
  }
  if (init.from.empty() && (!init.map.empty() || init.interpolate_positions)) {
    reader.problem("init.from", "must name a checkpoint where there are other keys of [init]",
                   "Set it, give --init-from, or leave the section out");
  }
}

void read_rest(ConfigReader& reader, RunConfig& c, Words& words) {
  reader.read("checkpoint.every", c.checkpoint.every, "Steps between checkpoints; 0: only at the end.")
      .at_least(0)
      .also_called({"save_every", "save_steps", "save_interval", "save_frequency"});
  reader.read("checkpoint.keep", c.checkpoint.keep, "How many are kept; 0: all.")
      .at_least(0)
      .also_called({"save_total_limit", "save_top_k", "keep_last"});
  reader
      .read("evaluation.sets", c.evaluation.sets,
            "Data-set folders that `triptych eval` and evaluation.every measure the model on.")
      .also_called({"val_data", "eval_data", "val_dir", "test_data"});
  reader
      .read("evaluation.every", c.evaluation.every,
            "Steps between evaluations while a run trains, also before the first step and behind the last: the loss on "
            "evaluation.sets and what `triptych eval` measures, into evaluations.jsonl. 0: none.")
      .at_least(0)
      .also_called({"eval_every", "eval_steps", "eval_interval", "val_frequency", "val_interval",
                    "check_val_every_n_epoch", "validation_freq"});
  reader
      .read("evaluation.best", c.evaluation.best,
            "Metric, as evaluations.jsonl names it (\"unseen style: loss\"), whose best checkpoint is kept beside "
            "those of checkpoint.keep, and is `--checkpoint best`; of losses, perplexities and errors the smallest, of "
            "all others the largest. Empty: none.")
      .also_called({"metric_for_best_model", "monitor", "early_stopping_metric"});
  reader
      .read("evaluation.patience", c.evaluation.patience,
            "So many evaluations in a row without a better one end the training; 0: any number.")
      .at_least(0)
      .also_called({"early_stopping_patience", "early_stopping"});
  reader.read("evaluation.batch", c.evaluation.batch, "Samples per forward pass.")
      .at_least(1)
      .at_most(65536)
      .also_called({"eval_batch_size", "per_device_eval_batch_size"});
  reader
      .read("evaluation.maps", c.evaluation.maps,
            "Pictures of each set for which the report shows where the model looked, as `triptych explain` does; with "
            "classes this many right and this many wrong ones. 0: none.")
      .at_least(0)
      .at_most(100);
  reader
      .read("evaluation.weights", words.evaluation_weights,
            "Which weights of the checkpoint: last, or ema, the moving average of a run with optimizer.ema_decay.")
      .one_of({"last", "ema"});
}

void resolve_words(RunConfig& c, const Words& words) {
  for (const Recompute recompute : kRecomputes) {
    if (words.recompute == recompute_name(recompute)) c.parallel.recompute = recompute;
  }
  c.training.precision = words.precision == "bf16"   ? DType::kBFloat16
                         : words.precision == "fp16" ? DType::kFloat16
                                                     : DType::kFloat32;
  c.adamw.scale_loss = c.training.precision == DType::kFloat16;
  c.evaluation.weights = words.evaluation_weights == "ema" ? SavedWeights::kAverage : SavedWeights::kLast;
  c.init.weights = words.init_weights == "ema" ? SavedWeights::kAverage : SavedWeights::kLast;
  c.learning_rate.total_steps = c.training.steps;
  const auto schedule = std::find(kLearningRateSchedules.begin(), kLearningRateSchedules.end(), words.schedule);
  c.learning_rate.schedule = static_cast<LearningRateSchedule>(schedule - kLearningRateSchedules.begin());
}

void check_evaluations(ConfigReader& reader, const RunConfig& c) {
  const EvaluationOptions& e = c.evaluation;
  if (e.every > 0 && e.sets.empty()) {
    reader.problem("evaluation.every", "needs data sets to evaluate on, found none",
                   "Set evaluation.sets, or leave it out");
  }
  if (e.every > 0 && e.weights == SavedWeights::kAverage && c.adamw.average_decay == 0) {
    reader.problem("evaluation.weights",
                   "ema needs averages of the weights, which optimizer.ema_decay = 0 keeps none of",
                   "Set optimizer.ema_decay, or use \"last\"");
  }
  if (!e.best.empty() && e.every == 0) {
    reader.problem("evaluation.best", "needs evaluations while training, found evaluation.every = 0",
                   "Set evaluation.every, or leave it out");
  }
  if (e.patience > 0 && e.best.empty()) {
    reader.problem("evaluation.patience", "needs a metric that gets better or not, found evaluation.best = \"\"",
                   "Set evaluation.best, or leave it out");
  }
}

void check_together(ConfigReader& reader, RunConfig& c, const Words& words, MeshUse mesh_use, int num_ranks) {
  if (c.run.device == "cpu") {
    if (words.precision == "fp16") {
      reader.problem("training.precision", "must be fp32 or bf16 on the CPU, found fp16",
                     "Use bf16, or run.device = \"cuda\"");
    }
    if (c.training.tf32) reader.problem("training.tf32", "must be false on the CPU", "Use run.device = \"cuda\"");
  }
  if (c.training.stop_after > c.training.steps) {
    reader.problem("training.stop_after",
                   fmt::format("must not exceed training.steps: {} > {}", c.training.stop_after, c.training.steps),
                   "Raise training.steps or lower stop_after");
  }
  check_evaluations(reader, c);
  const LearningRateOptions& rate = c.learning_rate;
  if (rate.warmup_steps > c.training.steps) {
    reader.problem("optimizer.warmup_steps",
                   fmt::format("must not exceed training.steps: {} > {}", rate.warmup_steps, c.training.steps),
                   "Lower it");
  } else if (rate.decay_steps > c.training.steps - rate.warmup_steps) {
    reader.problem("optimizer.decay_steps",
                   fmt::format("must not exceed training.steps - optimizer.warmup_steps: {} > {} - {}",
                               rate.decay_steps, c.training.steps, rate.warmup_steps),
                   "Lower it");
  }
  if (rate.decay_steps > 0 && rate.schedule != LearningRateSchedule::kWsd) {
    reader.problem("optimizer.decay_steps",
                   fmt::format("is of the schedule wsd alone: {} steps, schedule {}", rate.decay_steps, words.schedule),
                   "Set optimizer.schedule = \"wsd\", or leave it out");
  }
  // Of one sample there is nothing to contrast: its loss is 0 or its bias's alone, whatever the model.
  if (c.training.global_batch == 1 && coupling_of(c.task->objectives()) == LossCoupling::kCoupled) {
    reader.problem("training.global_batch", "must be at least 2 where samples are contrasted, found 1",
                   "Set it to 2 or more");
  }
  check_parallel(reader, c, mesh_use, num_ranks);
}

const TaskKind& kind_named(TaskTable tasks, std::string_view name) {
  for (const TaskKind& kind : tasks) {
    if (kind.name == name) return kind;
  }
  throw InternalError("task", fmt::format("there is no task {}", name));
}

void read_general(ConfigReader& reader, RunConfig& config, Words& words, TaskTable tasks) {
  read_task_name(reader, words, tasks);
  read_run(reader, config);
  read_parallel(reader, config.parallel, words.recompute);
  read_training(reader, config, words);
  read_treatment(reader, config);
  read_adapters(reader, config);
  read_init(reader, config, words);
  read_data(reader, config.data);
  read_rest(reader, config, words);
}

RunConfig read_config(ConfigReader& reader, TaskTable tasks, MeshUse mesh_use, int num_ranks) {
  RunConfig config;
  Words words;
  read_general(reader, config, words, tasks);
  config.task = kind_named(tasks, words.task).read(reader, config.parallel.mesh);
  resolve_words(config, words);
  check_together(reader, config, words, mesh_use, num_ranks);
  reader.finish();
  config.effective_toml = reader.effective_toml();
  config.default_toml = reader.default_toml();
  use_mesh(config.parallel, mesh_use, num_ranks);
  return config;
}

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides, TaskTable tasks,
                          MeshUse mesh_use, int num_ranks) {
  ConfigReader reader = ConfigReader::from_file(path, overrides);
  return read_config(reader, tasks, mesh_use, num_ranks);
}

RunConfig parse_run_config(const std::string& text, const std::string& name, TaskTable tasks) {
  ConfigReader reader = ConfigReader::from_text(text, name);
  return read_config(reader, tasks, MeshUse::kNone, 1);
}

std::string_view precision_name(DType precision) {
  return precision == DType::kBFloat16 ? "bf16" : precision == DType::kFloat16 ? "fp16" : "fp32";
}

std::string run_config_documentation(TaskTable tasks) {
  RunConfig config;
  Words words;
  ConfigReader general =
      ConfigReader::from_text("[[optimizer.groups]]\n[[adapters]]\n[[init.map]]\n[[data.source]]", "defaults");
  read_general(general, config, words, tasks);
  std::string text =
      "# Configuration\n\n"
      "Made by `triptych config document` from the bindings in `src/training/run_config.cpp` and `src/tasks`; a test\n"
      "keeps this page and them equal.\n\n"
      "A run is one TOML file; `--set key=value` overrides a key. A file may begin with `include = \"other.toml\"`: "
      "what it\n"
      "includes are defaults. Unknown keys, wrong types and impossible combinations are all told at once, with file "
      "and\n"
      "line, before anything is allocated: `triptych config check FILE` does only that. `config.toml` in the run's "
      "folder\n"
      "has every key as it was used.\n\n"
      "First the keys of every run, then those that each task adds. *Elsewhere* are names that other programs give a\n"
      "key: who writes one of them is told the key.\n\n" +
      general.documentation();
  for (const TaskKind& kind : tasks) {
    ConfigReader own = ConfigReader::from_text("", "defaults");
    kind.read(own, MeshShape());
    text +=
        fmt::format("\n# `task = \"{}\"`\n\nThe task's keys: {}.\n\n{}", kind.name, kind.summary, own.documentation());
  }
  return text + change_rules_documentation();
}

}  // namespace triptych::training
