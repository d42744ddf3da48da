#include "support/composition.h"

#include "objectives/contrastive.h"
#include "ops/add.h"
#include "ops/pick.h"
#include "ops/scale.h"
#include "ops/softmax.h"

namespace triptych::test {
namespace {

using Variables = std::vector<Variable>;
using Kind = ContrastiveConfig::Kind;

constexpr int64_t kBatch = 7, kWidth = 5;
constexpr float kInitialScale = 8, kInitialBias = -2;

// A scalar as a leaf, which what the functions are composed of refers to.
Variable scalar(Device& device, float value) {
  return Variable::leaf(tensor_of(device, DType::kFloat32, Shape{}, {value}), Shape{}, Layout());
}

Variable exponential(const Variable& x) {
  return elementwise(
      x, [](double v) { return std::exp(v); }, [](double v) { return std::exp(v); });
}

// log(1 + exp(x)).
Variable softplus(const Variable& x) {
  return elementwise(
      x, [](double v) { return std::log1p(std::exp(v)); }, [](double v) { return 1 / (1 + std::exp(-v)); });
}

// Radford et al. 2021, figure 3.
Variable info_nce(const Variable& similarities, Device& device) {
  std::vector<int32_t> labels;
  for (int32_t i = 0; i < kBatch; ++i) labels.push_back(i);
  const Variable diagonal =
      Variable::constant(Tensor::from<int32_t>(device, Shape{kBatch}, labels), Shape{kBatch}, Layout());
  const Variable to_text = pick(log_softmax(similarities), diagonal);
  const Variable to_image = pick(log_softmax(transpose(similarities, {1, 0})), diagonal);
  return scale(mean(add(to_text, to_image), {0}), -0.5f);
}

// Zhai et al. 2023, equation 1.
Variable sigmoid(const Variable& logits, Device& device) {
  std::vector<float> signs(static_cast<std::size_t>(kBatch * kBatch), 1);  // of -y: -1 for a pair
  for (int64_t i = 0; i < kBatch; ++i) signs[static_cast<std::size_t>(i * kBatch + i)] = -1;
  const Shape shape{kBatch, kBatch};
  const Variable minus_y = Variable::constant(tensor_of(device, DType::kFloat32, shape, signs), shape, Layout());
  return mean(sum(softplus(multiply(logits, minus_y)), {1}), {0});
}

class ContrastiveComposition : public ::testing::TestWithParam<Kind> {};

TEST_P(ContrastiveComposition, LossAndAllGradientsAreThoseOfPlainOperations) {
  const Kind kind = GetParam();
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 1, DType::kFloat32);
  const std::unique_ptr<Objective> objective =
      contrastive_objective({.kind = kind, .initial_scale = kInitialScale, .initial_bias = kInitialBias}).make(store);
  const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan};
  const std::vector<Parameter*> parameters = store.all();

  Variables scalars;
  for (const Parameter* p : parameters) scalars.push_back(scalar(rank.device, p->value.item<float>()));
  const auto composed = [&](const Variables& v) {
    const Variable logits = multiply(product(v[0], v[1], rank.mesh), exponential(scalars[0]));
    return Variables{kind == Kind::kInfoNce ? info_nce(logits, rank.device)
                                            : sigmoid(add(logits, scalars[1]), rank.device)};
  };
  expect_composition(
      DType::kFloat32, [&](const Variables& v) { return Variables{objective->loss(v, Fields(), pass)}; }, composed,
      {{Shape{kBatch, kWidth}, InputKind::kActivation, 0.3}, {Shape{kBatch, kWidth}, InputKind::kActivation, 0.3}},
      rank.device);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double magnitude = objective->gradient_magnitudes().at(parameters[i]->name);
    EXPECT_GT(magnitude, 0);
    EXPECT_NEAR(parameters[i]->gradient.tensor().item<float>(), scalars[i].gradient()->tensor.item<float>(),
                tolerance(DType::kFloat32).summed * magnitude)
        << parameters[i]->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ContrastiveComposition, ::testing::Values(Kind::kInfoNce, Kind::kSigmoid),
                         [](const auto& param) { return param.param == Kind::kInfoNce ? "infonce" : "sigmoid"; });

}  // namespace
}  // namespace triptych::test
