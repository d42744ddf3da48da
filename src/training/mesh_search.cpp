#include "training/mesh_search.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>

#include "data/parallel_for.h"
#include "training/memory_plan.h"

namespace triptych::training {
namespace {

using Overrides = std::vector<std::string>;

// What a config of these keys would be; nothing where no run may have it, such as heads that tp does not divide.
std::optional<RunConfig> possible(const MeshSearch& search, const Overrides& overrides) {
  try {
    return search.config_with(overrides);
  } catch (const UserError&) {
    return std::nullopt;
  }
}

struct Sharing {
  int zero, zero_group;
};

// Ways to share state out over dp, by what they send: 3 among the ranks of a machine comes before 3 among all.
std::vector<Sharing> sharings(const MeshShape& mesh, const Cluster& cluster) {
  if (mesh.dp == 1) return {{0, 0}};
  const int near = cluster.devices_per_node / (mesh.tp * mesh.cp);
  const bool is_hybrid = near > 1 && near < mesh.dp && mesh.dp % near == 0;
  return is_hybrid ? std::vector<Sharing>{{1, 0}, {3, near}, {3, 0}} : std::vector<Sharing>{{1, 0}, {3, 0}};
}

// The plan that `overrides` led to, with twice as many pieces of what tp sends as long as that is faster.
MeshPlan in_pieces(MeshPlan plan, const MeshSearch& search, const Overrides& overrides, const Cluster& cluster) {
  while (plan.parallel.mesh.tp > 1 && cluster.overlaps) {
    Overrides with = overrides;
    with.push_back(fmt::format("parallel.tp_pieces={}", 2 * plan.parallel.tp_pieces));
    const std::optional<RunConfig> config = possible(search, with);
    std::optional<StepPlan> faster = config ? plan_step_that_fits(*config, cluster) : std::nullopt;
    if (!faster || faster->seconds >= plan.step.seconds) break;
    plan = {config->parallel, std::move(*faster)};
  }
  return plan;
}

// With the least recomputation and the least of ZeRO that fit; nothing if none does.
std::optional<MeshPlan> plan_mesh(const MeshSearch& search, const Overrides& overrides, const MeshShape& mesh,
                                  const Cluster& cluster) {
  for (const Sharing& sharing : sharings(mesh, cluster)) {
    for (const Recompute recompute : kRecomputes) {
      Overrides with = overrides;
      with.push_back(fmt::format("parallel.zero={}", sharing.zero));
      with.push_back(fmt::format("parallel.zero_group={}", sharing.zero_group));
      with.push_back(fmt::format("parallel.recompute=\"{}\"", recompute_name(recompute)));
      const std::optional<RunConfig> config = possible(search, with);
      if (!config) return std::nullopt;
      if (std::optional<StepPlan> plan = plan_step_that_fits(*config, cluster)) {
        return in_pieces({config->parallel, std::move(*plan)}, search, with, cluster);
      }
    }
  }
  return std::nullopt;
}

// A mesh and an order of work; of its numbers of microbatches the first that memory holds is taken.
struct Candidate {
  MeshShape mesh;
  std::string schedule;
  std::vector<int> microbatches;
};

std::vector<Candidate> candidates_of(const Cluster& cluster, const MeshSearch& search, int num_blocks) {
  std::vector<Candidate> candidates;
  for (int tp = 1; tp <= std::min(search.num_devices, cluster.devices_per_node); ++tp) {
    for (int cp = 1; cp <= search.most_cp && tp * cp <= search.num_devices; ++cp) {
      for (int pp = 1; pp <= num_blocks && pp * cp * tp <= search.num_devices; ++pp) {
        if (search.num_devices % (pp * cp * tp) != 0) continue;
        const MeshShape mesh{.pp = pp, .dp = search.num_devices / (pp * cp * tp), .cp = cp, .tp = tp};
        if (pp == 1) {
          candidates.push_back({mesh, "1f1b", {1, 2, 4, 8, 16, 32, 64}});
          continue;
        }
        for (const std::string& schedule : search.schedules) {
          for (const int rounds : {1, 2, 4}) {
            candidates.push_back({mesh, schedule, {pp * rounds}});
            // Batches are powers of two more often than multiples of three.
            const auto even = static_cast<int>(std::bit_ceil(static_cast<unsigned>(pp)));
            if (even != pp) candidates.push_back({mesh, schedule, {even * rounds}});
          }
        }
      }
    }
  }
  return candidates;
}

Overrides overrides_of(const Candidate& candidate, int microbatches) {
  const MeshShape& mesh = candidate.mesh;
  return {fmt::format("parallel.pp={}", mesh.pp),
          fmt::format("parallel.dp={}", mesh.dp),
          fmt::format("parallel.cp={}", mesh.cp),
          fmt::format("parallel.tp={}", mesh.tp),
          fmt::format("parallel.schedule=\"{}\"", candidate.schedule),
          "parallel.virtual_stages=0",
          "parallel.cuts=[]",
          fmt::format("parallel.microbatches={}", microbatches),
          fmt::format("parallel.sequence_parallel={}", mesh.tp > 1),
          "parallel.tp_pieces=1"};
}

std::optional<MeshPlan> plan_candidate(const MeshSearch& search, const Candidate& candidate, const Cluster& cluster) {
  for (const int microbatches : candidate.microbatches) {
    const Overrides overrides = overrides_of(candidate, microbatches);
    if (std::optional<MeshPlan> found = plan_mesh(search, overrides, candidate.mesh, cluster)) return found;
  }
  return std::nullopt;
}

// Why no candidate can be had: the config refuses each, which one of its reasons explains, or memory holds none.
[[noreturn]] void refuse(const Cluster& cluster, const MeshSearch& search, const std::vector<Candidate>& candidates) {
  std::string first_refusal;
  std::size_t num_possible = 0;
  for (const Candidate& candidate : candidates) {
    const MeshShape& m = candidate.mesh;
    try {
      search.config_with(overrides_of(candidate, candidate.microbatches.front()));
      ++num_possible;
    } catch (const UserError& error) {
      if (!first_refusal.empty()) continue;
      first_refusal = fmt::format("pp {} x dp {} x cp {} x tp {}: {}", m.pp, m.dp, m.cp, m.tp, error.what());
    }
  }
  if (num_possible == 0) {
    throw UserError("plan mesh", fmt::format("the config must allow a mesh of {} devices, found none; {}",
                                             search.num_devices, first_refusal));
  }
  throw UserError(
      "plan mesh",
      fmt::format("{:g} GB of a device must hold a rank's part, found none of {} meshes of {} devices where "
                  "they do, with ZeRO 3 and all recomputed. Take more devices, or a smaller batch",
                  cluster.memory_gb, num_possible, search.num_devices));
}

std::vector<Candidate> candidates_of(const Cluster& cluster, const MeshSearch& search) {
  return candidates_of(cluster, search, static_cast<int>(search.config_with({}).task->model().blocks.size()));
}

// Places of `costs`, by what they hold.
std::vector<std::size_t> order_of(const std::vector<double>& costs) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return costs[a] < costs[b]; });
  return order;
}

}  // namespace

std::vector<MeshPlan> search_meshes(const Cluster& cluster, const MeshSearch& search) {
  const std::vector<Candidate> candidates = candidates_of(cluster, search);
  std::vector<double> efforts;  // those of deep pipelines take longest to plan, and are begun first
  for (const Candidate& one : candidates) efforts.push_back(-1.0 * one.mesh.pp * one.microbatches.back());
  const std::vector<std::size_t> order = order_of(efforts);
  std::vector<std::optional<MeshPlan>> found(candidates.size());
  data::parallel_for(data::num_processors(), candidates.size(),
                     [&](uint64_t i) { found[order[i]] = plan_candidate(search, candidates[order[i]], cluster); });
  std::vector<MeshPlan> plans;
  for (std::optional<MeshPlan>& plan : found) {
    if (plan) plans.push_back(std::move(*plan));
  }
  if (plans.empty()) refuse(cluster, search, candidates);
  std::stable_sort(plans.begin(), plans.end(),
                   [](const MeshPlan& a, const MeshPlan& b) { return a.step.seconds < b.step.seconds; });
  return plans;
}

double FastestMesh::bound_of(const RunConfig& config) {
  const ParallelOptions& p = config.parallel;
  const std::string key = fmt::format("{} {} {} {} {} {}", p.mesh.pp, p.mesh.cp, p.mesh.tp, p.schedule, p.microbatches,
                                      config.training.global_batch / p.mesh.dp);
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = bounds_.find(key); known != bounds_.end()) return known->second;
  }
  const double bound = least_seconds(config, cluster_);
  const std::lock_guard lock(mutex_);
  return bounds_[key] = bound;
}

MeshPlan FastestMesh::find(const MeshSearch& search) {
  const std::vector<Candidate> candidates = candidates_of(cluster_, search);
  // Of a candidate's numbers of microbatches memory chooses one, so the least bound of all is the candidate's.
  std::vector<double> bounds(candidates.size(), 0);
  data::parallel_for(data::num_processors(), candidates.size(), [&](uint64_t i) {
    double least = std::numeric_limits<double>::infinity();
    for (const int microbatches : candidates[i].microbatches) {
      Overrides alone = overrides_of(candidates[i], microbatches);
      alone.insert(alone.end(), {"parallel.zero=0", "parallel.zero_group=0", "parallel.recompute=\"none\""});
      if (const std::optional<RunConfig> config = possible(search, alone)) least = std::min(least, bound_of(*config));
    }
    bounds[i] = least;
  });
  const std::vector<std::size_t> order = order_of(bounds);
  std::vector<std::optional<MeshPlan>> found(candidates.size());
  std::atomic<double> fastest = std::numeric_limits<double>::infinity();
  data::parallel_for(data::num_processors(), candidates.size(), [&](uint64_t i) {
    constexpr double kRounding = 1e-9;
    if (bounds[order[i]] > fastest * (1 + kRounding)) return;
    std::optional<MeshPlan>& plan = found[order[i]] = plan_candidate(search, candidates[order[i]], cluster_);
    if (!plan) return;
    double before = fastest;
    while (plan->step.seconds < before && !fastest.compare_exchange_weak(before, plan->step.seconds)) continue;
  });
  std::optional<MeshPlan> best;  // of several as fast, the first
  for (std::optional<MeshPlan>& plan : found) {
    if (plan && (!best || plan->step.seconds < best->step.seconds)) best = std::move(plan);
  }
  if (!best) refuse(cluster_, search, candidates);
  return std::move(*best);
}

}  // namespace triptych::training
