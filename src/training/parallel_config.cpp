#include "training/parallel_config.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/checked.h"
#include "base/file.h"
#include "base/text.h"
#include "execution/partition_model.h"
#include "parallel/pipeline/schedule_text.h"
#include "parallel/pipeline/schedules.h"

namespace triptych::training {
namespace {

constexpr int kMostRanks = 65536;

// Whether the mesh is used as the config has it.
bool is_kept(MeshUse use) {
  return use == MeshUse::kSteps || use == MeshUse::kPlan;
}

// What an error says, without the name in front of it: where a problem of a config names the key.
std::string without_place(const Error& error) {
  const std::string text = error.what();
  return text.substr(text.starts_with('[') ? text.find("] ") + 2 : 0);
}

// The stages of all ranks, or 0 if the config has no such schedule, which is told to the reader.
int64_t check_schedule(ConfigReader& reader, const RunConfig& c, MeshUse mesh_use) {
  const ParallelOptions& p = c.parallel;
  if (is_schedule_file(p.schedule)) {
    if (p.virtual_stages != 0) {
      reader.problem("parallel.virtual_stages",
                     fmt::format("must be 0 with a schedule out of a file, which says who has which stage, found {}",
                                 p.virtual_stages),
                     "Leave it out");
    }
    if (!is_kept(mesh_use)) return p.mesh.pp;
    try {
      return schedule_of(c).num_stages;
    } catch (const Error& error) {
      reader.problem("parallel.schedule", error.what(), "Name a schedule, or a file that fits the config");
      return 0;
    }
  }
  const std::vector<std::string> names = schedule_names();
  if (std::ranges::find(names, p.schedule) == names.end()) {
    const std::string near = nearest_word(p.schedule, names);
    reader.problem(
        "parallel.schedule",
        fmt::format("must be one of {}, or the path of a file, found \"{}\"", fmt::join(names, ", "), p.schedule),
        near.empty() ? "Name one of them" : fmt::format("Did you mean \"{}\"?", near));
    return 0;
  }
  const ScheduleKind& kind = schedule_kind(p.schedule);
  const int virtual_stages = p.virtual_stages == 0 ? kind.usual_virtual_stages() : p.virtual_stages;
  if (!kind.can_have(virtual_stages)) {
    reader.problem("parallel.virtual_stages", kind.refusal_of(virtual_stages), "Leave it out, or use another schedule");
    return 0;
  }
  return int64_t{p.mesh.pp} * virtual_stages;
}

}  // namespace

void read_parallel(ConfigReader& reader, ParallelOptions& p, std::string& recompute) {
  reader.read("parallel.pp", p.mesh.pp, "Pipeline stages.")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"pp_size", "pipeline_parallel", "pipeline_parallel_size", "pipeline_parallel_degree",
                    "pipeline_model_parallel_size"});
  reader.read("parallel.dp", p.mesh.dp, "Replicas of the model, each with its share of the batch.")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"dp_size", "data_parallel", "data_parallel_size", "data_parallel_degree"});
  reader
      .read("parallel.cp", p.mesh.cp,
            "Ranks that share out every sequence: long texts, images of many patches. Attention's keys and values go "
            "round them.")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"cp_size", "context_parallel", "context_parallel_size", "context_parallel_degree"});
  reader.read("parallel.tp", p.mesh.tp, "Ranks that share every block: heads, feed-forward, vocabulary.")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"tp_size", "tensor_parallel", "tensor_parallel_size", "tensor_parallel_degree",
                    "tensor_model_parallel_size"});
  reader.read("parallel.schedule", p.schedule,
              fmt::format("Order of a step's work in the pipeline. {}. Or the path of a file that lists it "
                          "(docs/parallelism.md).",
                          describe_schedules()));
  reader
      .read("parallel.virtual_stages", p.virtual_stages,
            "Stages of a rank, with a schedule that can have several; 0: 2 of those, else 1.")
      .at_least(0)
      .at_most(kMaxVirtualStages)
      .also_called({"virtual_pipeline_model_parallel_size", "num_model_chunks", "num_layers_per_virtual_pipeline_stage",
                    "stages_per_rank", "num_chunks"});
  reader
      .read("parallel.cuts", p.cuts,
            "Names of the blocks with which all stages but the first begin, in order; none: stages are cut where the "
            "slowest is fastest, by FLOPs. `triptych plan stages` lists blocks and stages.")
      .also_called({"pipeline_parallel_split_points", "module_fqns_per_model_part", "split_points",
                    "num_layers_in_first_pipeline_stage"});
  reader
      .read("parallel.microbatches", p.microbatches,
            "Pieces of a replica's batch that are computed one after the other, with a pipeline or without. They save "
            "memory with parallel.schedule = \"1f1b\" and those behind it; gpipe keeps the activations of all.")
      .at_least(1)
      .at_most(65536)
      .also_called({"accum_freq", "accumulation_steps", "gradient_accumulation_steps", "accumulate_grad_batches",
                    "num_microbatches"});
  reader.read("parallel.sequence_parallel", p.sequence_parallel,
              "Between the blocks, share activations over tp by sequence.");
  reader
      .read("parallel.tp_pieces", p.tp_pieces,
            "Pieces of a microbatch in which what tp gathers and sums in a block travels, each beside the products of "
            "the others; at most the samples of a microbatch. 1: whole; gradients of activations then still travel "
            "beside the products that make those of weights.")
      .at_least(1)
      .at_most(1024)
      .also_called({"tp_comm_overlap", "num_splits", "tp_overlap_chunks"});
  reader
      .read("parallel.recompute", recompute,
            "What backward runs again to save memory. selective: what is cheap, norms and the core of attention; full: "
            "Transformer blocks, of which only the inputs are kept.")
      .one_of({"none", "selective", "full"})
      .also_called({"grad_checkpointing", "gradient_checkpointing", "activation_checkpointing", "activation_checkpoint",
                    "recompute_granularity"});
  reader
      .read("parallel.zero", p.zero,
            "What the ranks of dp keep a piece of each (ZeRO), instead of all of it: 0 nothing, 1 master weights and "
            "optimizer state, 2 gradients too, 3 weights too, gathered for their use.")
      .at_least(0)
      .at_most(3)
      .also_called({"zero_stage", "zero_optimization", "zero_optimization_stage", "sharding_strategy", "fsdp",
                    "use_distributed_optimizer", "data_parallel_shard_degree"});
  reader
      .read(
          "parallel.zero_group", p.mesh.dp_near,
          "How many neighbouring ranks of dp have one copy among them of what parallel.zero shares out, such as those "
          "of a machine (hybrid sharding): pieces are gathered among them, and only sums of pieces go further; 0: all "
          "ranks of dp.")
      .at_least(0)
      .also_called({"hybrid_shard", "hsdp", "zero_hpz_partition_size", "mics_shard_size", "fsdp_group_size"});
  reader
      .read("parallel.memory_budget_mb", p.memory_budget_mb,
            "MiB that a rank may hold of its device's memory, as `triptych plan memory` counts it: from "
            "parallel.recompute on the run takes the least recomputation that fits, of some blocks in full where it "
            "must; 0: parallel.recompute as it is.")
      .at_least(0)
      .also_called({"activation_memory_budget", "memory_budget", "memory_limit"});
  reader.read("parallel.bucket_mb", p.bucket_mb, "MiB of gradients that are reduced together.")
      .positive()
      .at_most(65536);
  reader
      .read("parallel.gradient_dtype", p.gradient_dtype,
            "In what gradients travel to be summed over dp. bf16: half the bytes; each rank's are rounded to 8 bits of "
            "precision first, the sums are taken in fp32.")
      .one_of({"fp32", "bf16"})
      .also_called({"grad_reduce_in_fp32", "reduce_dtype", "accumulate_allreduce_grads_in_fp32",
                    "gradient_reduce_dtype", "communication_data_type", "grad_reduce_dtype"});
}

namespace {

// Rows that an objective compares with each other are of one microbatch on one rank.
void check_row_groups(ConfigReader& reader, const RunConfig& c) {
  const int64_t batch = c.training.global_batch, pieces = int64_t{c.parallel.mesh.dp} * c.parallel.microbatches;
  if (batch % pieces != 0) return;  // told
  int64_t group = 1;
  for (const ObjectiveSpec& objective : c.task->objectives()) group = std::lcm(group, objective.group);
  if (batch / pieces % group == 0) return;
  reader.problem(
      "training.global_batch",
      fmt::format("must give a rank whole groups of rows that belong together in a microbatch: {} / ({} * {}) "
                  "= {} rows, groups of {}",
                  batch, c.parallel.mesh.dp, c.parallel.microbatches, batch / pieces, group),
      fmt::format("Set it to {}, or change the objective's group", round_up(batch, pieces * group)));
}

void check_zero_group(ConfigReader& reader, const ParallelOptions& p) {
  const int group = p.mesh.dp_near;
  if (group == 0) return;
  if (p.zero == 0) {
    reader.problem("parallel.zero_group", fmt::format("is for parallel.zero, which is 0: found {}", group),
                   "Set parallel.zero to 1, 2 or 3, or leave it out");
  } else if (group == 1) {
    reader.problem("parallel.zero_group", "of 1 shares nothing out", "Set parallel.zero = 0, or leave it out");
  } else if (p.mesh.dp % group != 0) {
    reader.problem("parallel.zero_group", fmt::format("must divide parallel.dp: {} of {}", group, p.mesh.dp),
                   "Set it to the ranks of dp on a machine, or leave it out");
  }
}

}  // namespace

void check_parallel(ConfigReader& reader, const RunConfig& c, MeshUse mesh_use, int num_ranks) {
  const MeshShape& mesh = c.parallel.mesh;
  const int64_t pieces = int64_t{mesh.dp} * c.parallel.microbatches;
  if (c.training.global_batch % pieces != 0) {
    reader.problem("training.global_batch",
                   fmt::format("must be a multiple of parallel.dp * parallel.microbatches: {} / ({} * {})",
                               c.training.global_batch, mesh.dp, c.parallel.microbatches),
                   fmt::format("Set it to {}", (c.training.global_batch + pieces - 1) / pieces * pieces));
  }
  const int64_t num_stages = check_schedule(reader, c, mesh_use);
  if (!is_kept(mesh_use)) return;
  check_row_groups(reader, c);
  check_zero_group(reader, c.parallel);
  const auto num_blocks = static_cast<int64_t>(c.task->model().blocks.size());
  if (num_stages > num_blocks) {
    reader.problem("parallel.pp",
                   fmt::format("must not make more stages than the model has blocks: {} stages, {} blocks", num_stages,
                               num_blocks),
                   "Use fewer stages");
  } else if (num_stages > 0 && !c.parallel.cuts.empty()) {
    try {
      partition_model(c.task->model(), c.task->objectives(), static_cast<int>(num_stages), c.parallel.cuts);
    } catch (const UserError& error) {
      reader.problem("parallel.cuts", without_place(error),
                     "Name the first block of every stage but the first (`triptych plan stages` lists blocks), or "
                     "leave it out");
    }
  }
  if (mesh_use == MeshUse::kPlan) return;
  try {
    check_mesh_shape(mesh, num_ranks);
  } catch (const UserError& error) {
    reader.problem("parallel", without_place(error), "`launcher/run-ranks N` starts N ranks on one machine");
  }
}

void use_mesh(ParallelOptions& p, MeshUse mesh_use, int num_ranks) {
  // Replicas that evaluate may need different numbers of passes, so each has the weights whole.
  MeshShape& mesh = p.mesh;
  if (!is_kept(mesh_use)) p.zero = mesh.dp_near = 0;
  const bool fits = int64_t{mesh.pp} * mesh.dp * mesh.cp * mesh.tp == num_ranks;
  if (is_kept(mesh_use) || (mesh_use == MeshUse::kForward && fits)) return;
  mesh = mesh_use == MeshUse::kForward ? MeshShape{.dp = num_ranks} : MeshShape();
  if (is_schedule_file(p.schedule)) p.schedule = ParallelOptions().schedule;
  p.cuts.clear();
}

std::string mesh_text(const ParallelOptions& parallel) {
  const MeshShape& m = parallel.mesh;
  std::string text = fmt::format("pp {} x dp {} x cp {} x tp {}", m.pp, m.dp, m.cp, m.tp);
  if (m.tp > 1 && parallel.tp_pieces > 1) text += fmt::format(" in {}", parallel.tp_pieces);
  if (parallel.zero == 0 || m.dp == 1) return text;
  const bool is_hybrid = m.num_near() < m.dp;
  return fmt::format("{}, ZeRO {}{}", text, parallel.zero, is_hybrid ? fmt::format(" among {}", m.dp_near) : "");
}

Schedule schedule_of(const RunConfig& config) {
  const ParallelOptions& p = config.parallel;
  const LossCoupling coupling = coupling_of(config.task->objectives());
  if (!is_schedule_file(p.schedule)) {
    return make_schedule(p.schedule, {.num_ranks = p.mesh.pp,
                                      .virtual_stages = p.virtual_stages,
                                      .num_microbatches = p.microbatches,
                                      .coupling = coupling});
  }
  const Schedule schedule = parse_schedule(read_text_file(p.schedule, kMaxScheduleBytes), p.schedule, coupling);
  const auto require = [&](std::string_view key, int wanted, int found) {
    if (wanted == found) return;
    throw UserError(p.schedule, fmt::format("must be made for {} = {}, found {}.", key, wanted, found));
  };
  require("parallel.pp", p.mesh.pp, schedule.num_ranks);
  require("parallel.microbatches", p.microbatches, schedule.num_microbatches);
  return schedule;
}

}  // namespace triptych::training
