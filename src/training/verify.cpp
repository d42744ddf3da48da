#include "training/verify.h"

#include <cmath>
#include <map>
#include <vector>

#include "training/session.h"

namespace triptych::training {
namespace {

struct Errors {
  double difference = 0, reference = 0;  // sums of squares
};

// The part of a whole tensor that starts at `begin`.
Tensor box(Tensor whole, const Shape& begin, const Shape& shape) {
  for (int dim = 0; dim < shape.rank(); ++dim) whole = whole.slice(dim, begin[dim], shape[dim]);
  return whole.contiguous();
}

Errors compare(const Tensor& gradient, const Tensor& reference) {
  Errors errors;
  const std::vector<float> a = gradient.to_vector<float>(), b = reference.to_vector<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    errors.difference += d * d;
    errors.reference += static_cast<double>(b[i]) * b[i];
  }
  return errors;
}

}  // namespace

VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place) {
  RunConfig alone = config;
  alone.parallel = ParallelOptions();
  const std::unique_ptr<Group> self = make_self_group("reference");
  // Where a head, a gate or an adapter's B begins with zeros, nothing below it would have a gradient to compare.
  Session reference(alone, *self, place, InitialValues::kAllDifferent);
  // The loss over all ranks, after forward and backward.
  const auto run = [&](Session& session, const RunConfig& c, int64_t step) {
    const Fields data = synthetic_fields(session, c);
    const Tensor values = session.executor().run_step(data.cut(c.parallel.microbatches), step);
    double loss = values.defined() ? values.to_vector<double>()[0] : 0;
    session.mesh().world().all_reduce(&loss, 1, DType::kFloat64, ReduceOp::kSum)->wait();
    return loss;
  };
  VerifyResult result;
  result.reference_loss = run(reference, alone, 1);

  Session session(config, world, place, InitialValues::kAllDifferent);
  Mesh& mesh = session.mesh();
  run(session, config, 0);  // shows the reducer how gradients come out; other masks drop out, other gradients result
  const double loss = run(session, config, 1);
  result.loss = loss;
  // A batch in which nothing is there to learn from has no loss.
  result.loss_error =
      loss == result.reference_loss ? 0 : std::abs(loss - result.reference_loss) / std::abs(result.reference_loss);

  // Parameters by name in the reference's order, which every rank has.
  std::map<std::string, const Parameter*> mine;
  for (const Parameter* parameter : session.store().all()) {
    mine[parameter->name] = parameter;
    TRIPTYCH_CHECK(parameter->is_trained || !parameter->reduced.defined(), "{} is frozen and has a gradient",
                   parameter->name);
  }
  const std::map<std::string, double> magnitudes = reference.executor().gradient_magnitudes();
  for (const Parameter* expected : reference.store().all()) {
    if (!expected->is_trained) {
      TRIPTYCH_CHECK(!expected->reduced.defined(), "{} is frozen and has a gradient", expected->name);
      continue;
    }
    std::vector<double> sums(3, 0);
    const auto found = mine.find(expected->name);
    if (found != mine.end()) {
      const Parameter& parameter = *found->second;
      Shape begin;
      const Shape shape = local_shape(parameter.global_shape, parameter.kept, mesh, &begin);
      const Errors errors = compare(parameter.reduced, box(expected->reduced, begin, shape));
      sums = {errors.difference, errors.reference, 1};
    }
    world.all_reduce(sums.data(), 3, DType::kFloat64, ReduceOp::kSum)->wait();
    TRIPTYCH_CHECK(sums[2] > 0, "no rank has parameter {}", expected->name);
    // Copies of a replicated piece count in both sums alike.
    const auto magnitude = magnitudes.find(expected->name);
    const double norm = magnitude != magnitudes.end() ? magnitude->second * std::sqrt(sums[2]) : std::sqrt(sums[1]);
    double error = std::sqrt(sums[0]) / norm;
    if (norm == 0) error = sums[0] == 0 ? 0 : std::numeric_limits<double>::infinity();
    ++result.num_parameters;
    if (!(error <= result.worst_error)) {
      result.worst_error = error;
      result.worst_parameter = expected->name;
    }
  }
  return result;
}

}  // namespace triptych::training
