#include "training/run_config.h"

#include <cmath>

#include "config/config_reader.h"
#include "models/two_tower.h"
#include "parallel/pipeline/schedules.h"

namespace triptych {
namespace {

// Words in the file, values in the program; filled by `read`, turned round by `resolve`.
struct Words {
  std::string recompute = "none", precision = "fp32";
  std::string pooling = "class", attention = "causal", objective = "infonce";
  double temperature = 0.07, minimum_temperature = 0.01;
};

void read_run(ConfigReader& reader, RunConfig& c) {
  reader.read("run.dir", c.run.dir, "Folder of the run: checkpoints, metrics.jsonl, report.html.");
  reader.read("run.device", c.run.device, "What computes: cpu, or cuda with one GPU a rank (a build with CUDA).")
      .one_of({"cpu", "cuda"});
  reader.read("run.seed", c.run.seed, "Of initial weights, sample order, augmentation and dropout.");
  reader.read("run.threads", c.run.threads, "Threads a rank; 0 shares the node's cores among its ranks.").at_least(0);
  reader.read("run.timeout_s", c.run.timeout_s, "Seconds after which a peer that does not answer is an error.")
      .at_least(1);
}

void read_parallel(ConfigReader& reader, RunConfig& c, Words& words) {
  ParallelOptions& p = c.parallel;
  reader.read("parallel.pp", p.mesh.pp, "Pipeline stages.").at_least(1);
  reader.read("parallel.dp", p.mesh.dp, "Replicas of the model, each with its share of the batch.").at_least(1);
  reader.read("parallel.tp", p.mesh.tp, "Ranks that share every block: heads, feed-forward, vocabulary.").at_least(1);
  reader
      .read("parallel.schedule", p.schedule,
            fmt::format("Order of a step's work in the pipeline. {}.", describe_schedules()))
      .one_of(schedule_names());
  reader.read("parallel.microbatches", p.microbatches, "Pieces of a replica's batch that go through the pipeline.")
      .at_least(1);
  reader.read("parallel.sequence_parallel", p.sequence_parallel,
              "Between the blocks, share activations over tp by sequence.");
  reader
      .read("parallel.recompute", words.recompute,
            "full keeps only the inputs of Transformer blocks and runs them again in backward.")
      .one_of({"none", "full"});
  reader.read("parallel.bucket_mb", p.bucket_mb, "MiB of gradients that are reduced together.").positive();
}

void read_model(ConfigReader& reader, RunConfig& c, Words& words) {
  TwoTowerConfig& m = c.model;
  reader.read("model.embedding", m.embedding, "Dims of the space in which images and texts meet.").at_least(1);
  reader.read("model.dropout", m.dropout, "After attention and feed-forward layers.").at_least(0).at_most(0.95f);
  reader.read("model.image.size", m.image.size, "Pixels a side.").at_least(1).at_most(4096);
  reader.read("model.image.patch", m.image.patch, "Pixels a side of a patch; divides the size.").at_least(1);
  reader.read("model.image.width", m.image.width, "Of the residual stream.").at_least(1).at_most(65536);
  reader.read("model.image.layers", m.image.layers, "Transformer blocks.").at_least(1).at_most(1024);
  reader.read("model.image.heads", m.image.heads, "Attention heads; divide the width; a multiple of parallel.tp.")
      .at_least(1);
  reader.read("model.image.feed_forward", m.image.feed_forward, "Inner width; a multiple of parallel.tp.").at_least(1);
  reader.read("model.image.pooling", words.pooling, "Where the image's embedding comes from.")
      .one_of({"class", "mean"});
  reader.read("model.text.length", m.text.length, "Tokens a caption, begin and end included; longer ones are cut.")
      .at_least(2)
      .at_most(65536);
  reader
      .read("model.text.vocabulary", m.text.vocabulary,
            "Rows of the token embedding, at least the tokenizer's pieces; a multiple of parallel.tp.")
      .at_least(4)
      .at_most(int64_t{1} << 24);
  reader.read("model.text.width", m.text.width, "Of the residual stream.").at_least(1).at_most(65536);
  reader.read("model.text.layers", m.text.layers, "Transformer blocks.").at_least(1).at_most(1024);
  reader.read("model.text.heads", m.text.heads, "Attention heads; divide the width; a multiple of parallel.tp.")
      .at_least(1);
  reader.read("model.text.feed_forward", m.text.feed_forward, "Inner width; a multiple of parallel.tp.").at_least(1);
  reader.read("model.text.attention", words.attention, "causal, or bidirectional with the padding masked.")
      .one_of({"causal", "bidirectional"});
}

void read_objective(ConfigReader& reader, RunConfig& c, Words& words) {
  reader.read("objective.kind", words.objective, "infonce (CLIP) or sigmoid (SigLIP).").one_of({"infonce", "sigmoid"});
  reader.read("objective.temperature", words.temperature, "Initial; learned. Similarities are divided by it.")
      .positive();
  reader.read("objective.minimum_temperature", words.minimum_temperature, "The learned temperature stays above.")
      .positive();
  reader.read("objective.bias", c.objective.initial_bias, "Initial bias of the sigmoid loss; learned.");
}

void read_training(ConfigReader& reader, RunConfig& c, Words& words) {
  TrainingOptions& t = c.training;
  reader.read("training.steps", t.steps, "Optimizer updates of the whole run; the learning rate ends there.")
      .at_least(1);
  reader
      .read("training.stop_after", t.stop_after,
            "Stop (with a checkpoint) after this many updates of the whole run; 0: at training.steps.")
      .at_least(0);
  reader
      .read("training.global_batch", t.global_batch,
            "Pairs a step over all replicas; a multiple of parallel.dp * parallel.microbatches.")
      .at_least(1)
      .at_most(int64_t{1} << 24);
  reader
      .read("training.precision", words.precision,
            "Of activations and matrix products; weights, sums, norms and losses stay fp32. fp16, with a dynamic loss "
            "scale, needs run.device = \"cuda\".")
      .one_of({"fp32", "bf16", "fp16"});
  reader.read("training.tf32", t.tf32,
              "Let the tensor cores round the inputs of fp32 matrix products to TF32; needs run.device = \"cuda\".");
  reader.read("training.clip_norm", c.adamw.clip_norm, "Gradients are scaled down to this global norm; 0: never.")
      .at_least(0);
  reader.read("optimizer.learning_rate", c.learning_rate.peak, "Peak.").positive();
  reader.read("optimizer.final_share", c.learning_rate.final_share, "Of the peak, at the last step (cosine).")
      .at_least(0)
      .at_most(1);
  reader.read("optimizer.warmup_steps", c.learning_rate.warmup_steps, "Linear warm-up.").at_least(0);
  reader.read("optimizer.weight_decay", c.adamw.weight_decay, "Decoupled; not of norms, biases and temperature.")
      .at_least(0);
  reader.read("optimizer.beta1", c.adamw.beta1, "Of the first moment.").at_least(0).at_most(0.9999f);
  reader.read("optimizer.beta2", c.adamw.beta2, "Of the second moment.").at_least(0).at_most(0.99999f);
  reader.read("optimizer.epsilon", c.adamw.epsilon, "Added to the root of the second moment.").positive();
}

void read_data(ConfigReader& reader, RunConfig& c) {
  DataOptions& d = c.data;
  reader.read("data.path", d.path, "Folder of shards, made by `triptych ingest` or indexed by `triptych index`.");
  reader.read("data.tokenizer", d.tokenizer, "SentencePiece model; empty: tokenizer.model in data.path.");
  reader.read("data.threads", d.threads, "That read and decode, a rank.").at_least(1).at_most(1024);
  reader.read("data.prefetch", d.prefetch, "Batches in flight, at most.").at_least(1).at_most(1024);
  reader.read("data.max_bad_fraction", d.max_bad_fraction, "Share of unusable samples beyond which the run stops.")
      .at_least(0)
      .at_most(1);
  AugmentOptions& a = d.augment;
  reader.read("data.augment.min_scale", a.min_scale, "Least share of the image that a random crop keeps.")
      .positive()
      .at_most(1);
  reader.read("data.augment.max_scale", a.max_scale, "Largest share.").positive().at_most(1);
  reader.read("data.augment.min_ratio", a.min_ratio, "Least width / height of the crop.").positive();
  reader.read("data.augment.max_ratio", a.max_ratio, "Largest width / height.").positive();
  reader.read("data.augment.flip_probability", a.flip_probability, "Mirror; captions may name sides.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.brightness", a.brightness, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.contrast", a.contrast, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.saturation", a.saturation, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.hue", a.hue, "Share of half a turn, either way.").at_least(0).at_most(1);
  reader.read("data.augment.color", a.color, "How far each channel's black and white points move.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.grayscale_probability", a.grayscale_probability, "Of a grey picture.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.invert_probability", a.invert_probability, "Of a negative.").at_least(0).at_most(1);
}

void read_rest(ConfigReader& reader, RunConfig& c) {
  reader.read("checkpoint.every", c.checkpoint.every, "Steps between checkpoints; 0: only at the end.").at_least(0);
  reader.read("checkpoint.keep", c.checkpoint.keep, "How many are kept; 0: all.").at_least(0);
  reader.read("evaluation.sets", c.evaluation.sets, "Data-set folders that `triptych eval` measures retrieval on.");
  reader.read("evaluation.batch", c.evaluation.batch, "Pairs a forward pass.").at_least(1).at_most(65536);
}

void resolve_words(RunConfig& c, const Words& words) {
  c.parallel.recompute = words.recompute == "full";
  c.training.precision = words.precision == "bf16"   ? DType::kBFloat16
                         : words.precision == "fp16" ? DType::kFloat16
                                                     : DType::kFloat32;
  c.adamw.scale_loss = c.training.precision == DType::kFloat16;
  c.model.image.pooling =
      words.pooling == "mean" ? ImageTowerConfig::Pooling::kMean : ImageTowerConfig::Pooling::kClassToken;
  c.model.text.causal = words.attention == "causal";
  c.objective.kind =
      words.objective == "sigmoid" ? ContrastiveConfig::Kind::kSigmoid : ContrastiveConfig::Kind::kInfoNce;
  c.objective.initial_scale = static_cast<float>(1 / words.temperature);
  c.objective.maximum_scale = static_cast<float>(1 / words.minimum_temperature);
  c.learning_rate.total_steps = c.training.steps;
}

void check_together(ConfigReader& reader, RunConfig& c, const Words& words, int num_ranks) {
  const MeshShape& mesh = c.parallel.mesh;
  const int64_t pieces = int64_t{mesh.dp} * c.parallel.microbatches;
  if (c.training.global_batch % pieces != 0) {
    reader.problem("training.global_batch",
                   fmt::format("must be a multiple of parallel.dp * parallel.microbatches: {} / ({} * {})",
                               c.training.global_batch, mesh.dp, c.parallel.microbatches),
                   fmt::format("Set it to {}", (c.training.global_batch + pieces - 1) / pieces * pieces));
  }
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
  if (c.learning_rate.warmup_steps > c.training.steps) {
    reader.problem(
        "optimizer.warmup_steps",
        fmt::format("must not exceed training.steps: {} > {}", c.learning_rate.warmup_steps, c.training.steps),
        "Lower it");
  }
  if (words.minimum_temperature > words.temperature) {
    reader.problem("objective.temperature",
                   fmt::format("must not be below objective.minimum_temperature: {} < {}", words.temperature,
                               words.minimum_temperature),
                   "Raise it, or lower the minimum");
  }
  for (const ConfigProblem& problem : check_two_tower(c.model, mesh.tp)) {
    reader.problem(problem.key, problem.rule, problem.remedy);
  }
  if (num_ranks == 0) return;
  const auto num_blocks = static_cast<int64_t>(two_tower(c.model, false).blocks.size());
  if (mesh.pp > num_blocks) {
    reader.problem("parallel.pp",
                   fmt::format("must not exceed the model's blocks: {} stages, {} blocks", mesh.pp, num_blocks),
                   "Use fewer stages");
  }
  try {
    check_mesh_shape(mesh, num_ranks);
  } catch (const UserError& error) {
    reader.problem("parallel", error.what(), "Change the mesh or the number of ranks");
  }
}

RunConfig read_config(ConfigReader& reader, int num_ranks) {
  RunConfig config;
  Words words;
  read_run(reader, config);
  read_parallel(reader, config, words);
  read_model(reader, config, words);
  read_objective(reader, config, words);
  read_training(reader, config, words);
  read_data(reader, config);
  read_rest(reader, config);
  resolve_words(config, words);
  check_together(reader, config, words, num_ranks);
  reader.finish();
  config.effective_toml = reader.effective_toml();
  if (num_ranks == 0) config.parallel.mesh = MeshShape();
  return config;
}

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides, int num_ranks) {
  ConfigReader reader = ConfigReader::from_file(path, overrides);
  return read_config(reader, num_ranks);
}

RunConfig parse_run_config(const std::string& text, const std::string& name) {
  ConfigReader reader = ConfigReader::from_text(text, name);
  return read_config(reader, 0);
}

std::string_view precision_name(DType precision) {
  return precision == DType::kBFloat16 ? "bf16" : precision == DType::kFloat16 ? "fp16" : "fp32";
}

std::string run_config_documentation() {
  ConfigReader reader = ConfigReader::from_text("", "defaults");
  read_config(reader, 0);
  return "# Configuration\n\n"
         "Made by `triptych config document` from the bindings in `src/training/run_config.cpp`; a test keeps the two "
         "equal.\n\n"
         "A run is one TOML file; `--set key=value` overrides a key. A file may begin with `include = \"other.toml\"`: "
         "what it\n"
         "includes are defaults. Unknown keys, wrong types and impossible combinations are all told at once, with file "
         "and\n"
         "line, before anything is allocated: `triptych config check FILE` does only that. `config.toml` in the run's "
         "folder\n"
         "has every key as it was used.\n\n" +
         reader.documentation();
}

}  // namespace triptych
