#include "evaluation/held_out_loss.h"

#include <algorithm>
#include <numeric>

#include "execution/batch_feeder.h"

namespace triptych::evaluation {
namespace {

int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// The largest piece of a rank's rows, whole groups, that is no more than `most` rows, or one group.
int64_t piece_of(int64_t rows, int64_t group, int64_t most) {
  int64_t piece = group;
  for (int64_t size = group; size <= std::min(rows, most); size += group) {
    if (rows % size == 0) piece = size;
  }
  return piece;
}

}  // namespace

std::optional<HeldOutLoss> measure_loss(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                                        std::span<const FieldSource> sources, std::span<const ObjectiveSpec> objectives,
                                        int64_t global_batch) {
  Executor& executor = inference.executor();
  Mesh& mesh = inference.mesh();
  const int64_t dp = mesh.size(Axis::kDp), batch_size = std::min(global_batch, static_cast<int64_t>(dataset->size()));
  int64_t group = 1;
  for (const ObjectiveSpec& objective : objectives) group = std::lcm(group, objective.group);
  const int64_t rows = round_up((batch_size + dp - 1) / dp, group);
  const int64_t piece = piece_of(rows, group, (inference.options().batch + dp - 1) / dp);
  const std::vector<std::string> names = executor.fields();
  LoaderOptions options;
  options.fields = sources_of(sources, names);
  options.global_batch = batch_size;
  options.rows = rows;
  options.dp_rank = mesh.rank(Axis::kDp);
  options.dp_size = static_cast<int>(dp);
  options.for_loss = true;
  options.check_unused_images = false;  // a rank that reads the images tells the others

  const std::size_t count = objectives.size();
  std::vector<double> losses(count), terms(count);
  inference.for_batches(dataset, std::move(options), [&](Batch& batch) {
    const Fields fields = to_device(inference.device(), batch, names);
    Tensor sums = executor.measure_losses(fields.cut(static_cast<int>(rows / piece)));
    if (!sums.defined()) {
      sums = Tensor::zeros(inference.device(), DType::kFloat64, Shape{2, static_cast<int64_t>(count)});
    }
    mesh.all_ranks().all_reduce(sums.data<double>(), sums.num_elements(), DType::kFloat64, ReduceOp::kSum)->wait();
    const std::vector<double> values = sums.to_vector<double>();
    for (std::size_t i = 0; i < count; ++i) {
      const double num_terms = values[count + i];
      const bool is_coupled = objectives[i].coupling == LossCoupling::kCoupled;
      if (num_terms < (is_coupled ? 2 : 1)) continue;  // of one pair there is nothing to contrast
      losses[i] += values[i] * num_terms;
      terms[i] += num_terms;
    }
  });
  HeldOutLoss result;
  for (std::size_t i = 0; i < count; ++i) {
    if (terms[i] == 0) continue;
    const double loss = losses[i] / terms[i];
    result.loss += objectives[i].weight * loss;
    result.parts.emplace_back(objectives[i].name, loss);
  }
  return result.parts.empty() ? std::nullopt : std::optional(result);
}

}  // namespace triptych::evaluation
