#pragma once

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "device/device.h"
#include "execution/executor.h"
#include "parallel/mesh.h"

namespace triptych::test {

/// All that one rank needs to run steps of a model, made by hand: no config, no task. Collective.
struct RankModel {
  RankModel(Group& world, const MeshShape& shape, ModelSpec spec, const std::vector<ObjectiveSpec>& objectives,
            const Schedule& schedule, const ExecutionOptions& options = {}, bool sequence_parallel = false,
            const std::vector<AdapterOptions>& adapters = {})
      : mesh(world, shape, device),
        plan(sequence_parallel ? sequence_parallel_plan() : tensor_parallel_plan()),
        model(std::move(spec)),
        store(device, mesh, plan, options.seed, options.dtype, adapters),
        executor(device, mesh, plan, store, model, objectives, schedule, options) {}

  Device device{1};
  Mesh mesh;
  Plan plan;
  ModelSpec model;
  ParameterStore store;
  Executor executor;
};

/// The values of a step, over all ranks.
inline std::vector<double> step_values_of(RankModel& rank, const Tensor& summands) {
  std::vector<double> values(rank.executor.step_values().size(), 0);
  if (summands.defined()) values = summands.to_vector<double>();
  rank.mesh.world()
      .all_reduce(values.data(), static_cast<int64_t>(values.size()), DType::kFloat64, ReduceOp::kSum)
      ->wait();
  return values;
}

/// The parameters of one rank with the whole model, as a mesh of ranks compares its own with them: every one must be on
/// some rank, and every piece of its gradient within `bound` of the whole's 2-norm. A frozen one has none. Collective
/// over `rank`'s world.
///
/// A scalar whose gradient is a sum that cancels is compared with the sum of its terms' magnitudes: see Objective.
inline void expect_same_gradients(RankModel& rank, RankModel& reference, double bound) {
  std::map<std::string, const Parameter*> mine;
  for (const Parameter* parameter : rank.store.all()) mine[parameter->name] = parameter;
  const std::map<std::string, double> magnitudes = reference.executor.gradient_magnitudes();
  for (const Parameter* expected : reference.store.all()) {
    int32_t num_owners = 0;
    const auto found = mine.find(expected->name);
    if (found != mine.end()) num_owners = 1;
    if (found != mine.end() && !found->second->is_trained) {
      EXPECT_FALSE(found->second->gradient.tensor().defined()) << expected->name << " is frozen";
    } else if (found != mine.end()) {
      const Parameter& parameter = *found->second;
      Shape begin;
      const Shape shape = local_shape(parameter.global_shape, parameter.layout, rank.mesh, &begin);
      Tensor piece = expected->gradient.tensor();
      for (int dim = 0; dim < shape.rank(); ++dim) piece = piece.slice(dim, begin[dim], shape[dim]);
      const std::vector<float> a = parameter.gradient.tensor().to_vector<float>(), b = piece.to_vector<float>();
      ASSERT_EQ(a.size(), b.size()) << expected->name;
      double difference = 0, norm = 0;
      for (std::size_t i = 0; i < a.size(); ++i) difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
      for (const float x : expected->gradient.tensor().to_vector<float>()) norm += static_cast<double>(x) * x;
      const auto magnitude = magnitudes.find(expected->name);
      const double scale = magnitude != magnitudes.end() ? magnitude->second : std::sqrt(norm);
      EXPECT_LE(std::sqrt(difference), bound * scale) << expected->name;
    }
    if (found != mine.end()) mine.erase(found);
    rank.mesh.world().all_reduce(&num_owners, 1, DType::kInt32, ReduceOp::kSum)->wait();
    EXPECT_GT(num_owners, 0) << "no rank has " << expected->name;
  }
  for (const auto& [name, parameter] : mine) ADD_FAILURE() << "one rank alone has no " << name;
}

}  // namespace triptych::test
