#include "training/verify.h"

#include <cmath>
#include <limits>
#include <map>
#include <memory>
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

// The loss over all ranks, after forward and backward.
double run_step(Session& session, const RunConfig& config, int64_t step) {
  const Fields data = synthetic_fields(session, config);
  const Tensor values = session.executor().run_step(data.cut(config.parallel.microbatches), step);
  double loss = values.defined() ? values.to_vector<double>()[0] : 0;
  session.mesh().world().all_reduce(&loss, 1, DType::kFloat64, ReduceOp::kSum)->wait();
  return loss;
}

void check_frozen(const Parameter& parameter) {
  TRIPTYCH_CHECK(parameter.is_trained || !parameter.reduced.defined(), "{} is frozen and has a gradient",
                 parameter.name);
}

constexpr int64_t kStep = 1;

}  // namespace

VerifyReference verify_reference(const RunConfig& config, const RankPlace& place) {
  RunConfig alone = config;
  alone.parallel = ParallelOptions();
  const std::unique_ptr<Group> self = make_self_group("reference");
  // Where a head, a gate or an adapter's B begins with zeros, nothing below it would have a gradient to compare.
  Session session(alone, *self, place, InitialValues::kAllDifferent);
  VerifyReference reference{.loss = run_step(session, alone, kStep)};
  const std::map<std::string, double> magnitudes = session.executor().gradient_magnitudes();
  for (const Parameter* parameter : session.store().all()) {
    check_frozen(*parameter);
    if (!parameter->is_trained) continue;
    const auto magnitude = magnitudes.find(parameter->name);
    reference.gradients.push_back(
        {.name = parameter->name,
         .shape = parameter->global_shape,
         .values = parameter->reduced.to_vector<float>(),
         .magnitude = magnitude == magnitudes.end() ? std::nullopt : std::optional(magnitude->second)});
  }
  return reference;
}

VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place, const VerifyReference& reference) {
  VerifyResult result;
  result.reference_loss = reference.loss;
  Session session(config, world, place, InitialValues::kAllDifferent);
  Mesh& mesh = session.mesh();
  // Shows the reducer how gradients come out; other masks drop out, other gradients result.
  run_step(session, config, kStep - 1);
  result.loss = run_step(session, config, kStep);
  // A batch in which nothing is there to learn from has no loss.
  result.loss_error =
      result.loss == reference.loss ? 0 : std::abs(result.loss - reference.loss) / std::abs(reference.loss);

  std::map<std::string, const Parameter*> mine;
  for (const Parameter* parameter : session.store().all()) {
    mine[parameter->name] = parameter;
    check_frozen(*parameter);
  }
  // In the reference's order, which every rank has.
  for (const VerifyReference::Gradient& expected : reference.gradients) {
    std::vector<double> sums(3, 0);
    const auto found = mine.find(expected.name);
    if (found != mine.end()) {
      const Parameter& parameter = *found->second;
      Shape begin;
      const Shape shape = local_shape(parameter.global_shape, parameter.kept, mesh, &begin);
      const Tensor whole = Tensor::from<float>(session.device(), expected.shape, expected.values);
      const Errors errors = compare(parameter.reduced, box(whole, begin, shape));
      sums = {errors.difference, errors.reference, 1};
    }
    world.all_reduce(sums.data(), 3, DType::kFloat64, ReduceOp::kSum)->wait();
    TRIPTYCH_CHECK(sums[2] > 0, "no rank has parameter {}", expected.name);
    // Copies of a replicated piece count in both sums alike.
    const double norm = expected.magnitude ? *expected.magnitude * std::sqrt(sums[2]) : std::sqrt(sums[1]);
    double error = std::sqrt(sums[0]) / norm;
    if (norm == 0) error = sums[0] == 0 ? 0 : std::numeric_limits<double>::infinity();
    ++result.num_parameters;
    if (!(error <= result.worst_error)) {
      result.worst_error = error;
      result.worst_parameter = expected.name;
    }
  }
  return result;
}

VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place) {
  return verify(config, world, place, verify_reference(config, place));
}

}  // namespace triptych::training
