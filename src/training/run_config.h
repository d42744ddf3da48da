#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "data/modality_dropout.h"
#include "nn/adapter.h"
#include "optim/adamw.h"
#include "optim/learning_rate.h"
#include "optim/treatment.h"
#include "parallel/mesh.h"
#include "parallel/pipeline/schedule.h"
#include "tasks/task.h"
#include "training/init_names.h"

namespace triptych::training {

struct RunOptions {
  std::string dir = "runs/default";
  std::string device = "cpu";
  uint64_t seed = 1;
  int threads = 0;  ///< a rank; 0: the node's cores shared by its ranks
  int timeout_s = 600;
  std::string cluster;  ///< a file to plan with; empty: none
};

struct ParallelOptions {
  MeshShape mesh;                  ///< dp_near: parallel.zero_group
  std::string schedule = "gpipe";  ///< a name of schedule_kinds()
  int virtual_stages = 0;          ///< stages a rank; 0: as many as the schedule usually has
  std::vector<std::string> cuts;   ///< blocks with which stages begin; none: by cost
  int microbatches = 1;
  bool sequence_parallel = false;
  Recompute recompute = Recompute::kNone;
  int zero = 0;                          ///< a number of execution::Zero
  std::vector<std::string> full_blocks;  ///< that selective recomputation recomputes in full; no key: see fit_memory
  double memory_budget_mb = 0;           ///< of a rank's device; 0: none
  double bucket_mb = 8;
  int64_t tp_pieces = 1;
  std::string gradient_dtype = "fp32";  ///< or "bf16"
};

/// "pp 1 x dp 4 x cp 1 x tp 2 in 4, ZeRO 2": tp_pieces are told where they are several, ZeRO where ranks of dp share
/// anything out.
std::string mesh_text(const ParallelOptions& parallel);

struct TrainingOptions {
  int64_t steps = 1000;
  int64_t stop_after = 0;  ///< 0: at `steps`
  int64_t global_batch = 64;
  int64_t max_skipped_steps = 25;  ///< in a row; 0: any number
  DType precision = DType::kFloat32;
  bool tf32 = false;
};

/// A data set that a run draws samples from.
struct DataSource {
  std::string path;
  double weight = 1;  ///< its share of the samples is this over the sum of all
};

struct DataOptions {
  std::string path;                 ///< of one source alone; then there are no others
  std::vector<DataSource> sources;  ///< as `data.source` lists them
  std::string tokenizer;            ///< empty: tokenizer.model beside the first source
  int64_t shuffle_shards = 0;       ///< see data::EpochOrder's windows
  std::string cache_dir;            ///< of sources behind an address
  double cache_max_gb = 50;
  int threads = 1;
  int prefetch = 3;
  double max_bad_fraction = 0.01;
  ModalityDropout modality_dropout;
};

struct CheckpointOptions {
  int64_t every = 500;  ///< steps; 0: only at the end
  int64_t keep = 2;
};

/// Which of a checkpoint's weights: those of the last update, or their moving averages where there are some.
enum class SavedWeights { kLast, kAverage };

/// What a new run takes out of a checkpoint of another: see take_parameters.
struct InitOptions {
  std::string from;  ///< a checkpoint, or a run's folder; empty: nothing is taken
  SavedWeights weights = SavedWeights::kLast;
  bool interpolate_positions = false;
  std::vector<NameChange> map;  ///< the first whose pattern matches holds
};

struct EvaluationOptions {
  std::vector<std::string> sets;  ///< data-set folders
  int64_t batch = 64;
  SavedWeights weights = SavedWeights::kLast;
  int64_t maps = 3;
  int64_t every = 0;     ///< steps of training; 0: never
  std::string best;      ///< metric whose best checkpoint is kept; empty: none is
  int64_t patience = 0;  ///< evaluations without a better one that end training; 0: any number
};

/// One run, as its TOML file and the command line say. docs/configuration.md is made from the same bindings. What
/// depends on the kind of run is the task's.
struct RunConfig {
  RunOptions run;
  ParallelOptions parallel;
  TrainingOptions training;
  AdamWOptions adamw;
  LearningRateOptions learning_rate;
  TreatmentOptions treatment;
  std::vector<AdapterOptions> adapters;  ///< the first whose pattern matches holds
  InitOptions init;
  DataOptions data;
  CheckpointOptions checkpoint;
  EvaluationOptions evaluation;
  std::shared_ptr<const Task> task;
  std::string effective_toml;  ///< every key with its value: reads back to the same config
  std::string default_toml;    ///< every key with its default
};

/// What is made of a config's mesh.
enum class MeshUse {
  kNone,     ///< nothing: it is taken as one rank
  kSteps,    ///< training: it must have as many ranks as were started
  kPlan,     ///< nothing is started: it is kept as it is, whatever the number of ranks
  kForward,  ///< forward passes: where it has another number of ranks, all that were started become replicas
};

/// Reads and checks a run's file. Nothing is allocated, no data is opened.
///   tasks      that `task` may name; the first where it names none
///   num_ranks  that were started
/// Throws one UserError with all that is wrong.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides, TaskTable tasks,
                          MeshUse mesh_use = MeshUse::kNone, int num_ranks = 1);

/// The same from text, such as a checkpoint carries, for one rank.
RunConfig parse_run_config(const std::string& text, const std::string& name, TaskTable tasks);

/// The order of a step's work that the config asks for.
Schedule schedule_of(const RunConfig& config);

/// "fp32", "bf16" or "fp16", as training.precision says it.
std::string_view precision_name(DType precision);

/// The tables of docs/configuration.md: the keys of all runs, then each task's.
std::string run_config_documentation(TaskTable tasks);

}  // namespace triptych::training
