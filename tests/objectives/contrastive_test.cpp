#include "objectives/contrastive.h"

#include <cmath>
#include <vector>

#include "autograd/all_reducer.h"
#include "contrastive_oracle.h"
#include "parallel/in_process_group.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

Variable embeddings(Device& device, const Rows& values, const Batch& batch, const Layout& layout) {
  const std::vector<float> floats(values.begin(), values.end());
  const auto width = static_cast<int64_t>(batch.width);
  const Shape local{static_cast<int64_t>(floats.size()) / width, width};
  return Variable::leaf(Tensor::from<float>(device, local, floats), Shape{static_cast<int64_t>(batch.size), width},
                        layout);
}

const std::vector<std::string> kNeeds{"image_present", "text_present"};

// Of a rank's rows: what is no pair lacks its image, its text or both, in turn.
Fields presence_of(Device& device, const Batch& batch, const Range& rows) {
  std::vector<uint8_t> image, text;
  for (int64_t i = rows.begin; i < rows.begin + rows.length; ++i) {
    const bool is_pair = batch.is_pair.empty() || batch.is_pair[static_cast<std::size_t>(i)];
    image.push_back(is_pair || i % 3 == 0 ? 1 : 0);
    text.push_back(is_pair || i % 3 == 1 ? 1 : 0);
  }
  Fields fields(rows.length);
  fields.set("image_present", Tensor::from<uint8_t>(device, Shape{rows.length}, image));
  fields.set("text_present", Tensor::from<uint8_t>(device, Shape{rows.length}, text));
  return fields;
}

double pairs_reported(const ObjectiveSpec& spec, const Objective& objective, Device& device) {
  EXPECT_EQ(spec.scalars.size(), 2u);
  EXPECT_EQ(spec.scalars.back().name, "pairs");
  const Tensor scalars = Tensor::zeros(device, DType::kFloat64, Shape{2});
  objective.write_scalars(device.stream(), scalars.data<double>());
  return scalars.to_vector<double>()[1];
}

// Loss and all gradients on every rank of a mesh against the double loops over the whole batch.
void check(const MeshShape& shape, const Batch& batch, Kind kind, const Expected& expected) {
  SCOPED_TRACE(fmt::format("dp {} cp {} tp {} batch {} pairs {}", shape.dp, shape.cp, shape.tp, batch.size,
                           batch.pairs().size()));
  run_ranks(shape.dp * shape.cp * shape.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, shape, device);
    const Plan plan = tensor_parallel_plan();
    ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
    ContrastiveConfig config{.kind = kind, .initial_scale = 8, .initial_bias = kBias};
    if (!batch.is_pair.empty()) config.needs = kNeeds;
    const ObjectiveSpec spec = contrastive_objective(config);
    EXPECT_EQ(spec.fields, config.needs);
    const std::unique_ptr<Objective> objective = spec.make(store);
    const std::vector<Parameter*> parameters = store.all();
    AllReducer reducer(device, mesh, parameters, 1 << 20);
    reducer.begin_step();
    const Pass pass{.device = device, .mesh = mesh, .plan = plan};
    const Layout batch_layout = pass.layout("batch");
    const Range mine = shard_range(static_cast<int64_t>(batch.size), shape.dp, mesh.rank(Axis::kDp));
    const Variable image = embeddings(device, rows_of(batch.image, mine, batch.width), batch, batch_layout);
    const Variable text = embeddings(device, rows_of(batch.text, mine, batch.width), batch, batch_layout);
    const Variable loss = objective->loss(std::vector{image, text}, presence_of(device, batch, mine), pass);
    if (!batch.is_pair.empty()) {
      EXPECT_EQ(pairs_reported(spec, *objective, device), static_cast<double>(batch.pairs().size()));
    }

    double sum = loss.tensor().item<double>();
    world.all_reduce(&sum, 1, DType::kFloat64, ReduceOp::kSum)->wait();
    const Tolerance bound = tolerance(DType::kFloat32);
    EXPECT_NEAR(sum, expected.loss, bound.summed * expected.loss);

    const double one = 1;
    const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), loss.layout().of_gradient()};
    backward(std::span(&loss, 1), std::span(&seed, 1), {.poll = [&] { reducer.poll(); }});
    reducer.finish();
    EXPECT_EQ(image.gradient()->layout, batch_layout);
    EXPECT_EQ(text.gradient()->layout, batch_layout);
    // Per rank, since a rank with no rows has nothing to be relative to.
    EXPECT_LT(relative_error(image.gradient()->tensor.to_vector<float>(), rows_of(expected.dimage, mine, batch.width)),
              bound.summed);
    EXPECT_LT(relative_error(text.gradient()->tensor.to_vector<float>(), rows_of(expected.dtext, mine, batch.width)),
              bound.summed);

    std::vector<double> magnitudes;
    for (const Parameter* p : parameters) magnitudes.push_back(objective->gradient_magnitudes().at(p->name));
    world.all_reduce(magnitudes.data(), static_cast<int64_t>(magnitudes.size()), DType::kFloat64, ReduceOp::kSum)
        ->wait();
    EXPECT_NEAR(parameters[0]->gradient.tensor().item<float>(), expected.dlog_scale, bound.summed * magnitudes[0]);
    EXPECT_GE(magnitudes[0], std::abs(expected.dlog_scale) * (1 - bound.summed));
    ASSERT_EQ(parameters.size(), kind == Kind::kSigmoid ? 2u : 1u);
    if (kind == Kind::kSigmoid) {
      EXPECT_NEAR(parameters[1]->gradient.tensor().item<float>(), expected.dbias, bound.summed * magnitudes[1]);
    }
  });
}

class Contrastive : public ::testing::TestWithParam<Kind> {};

// Ranks of `cp` and `tp` share the candidates out.
const std::vector<MeshShape> kMeshes{
    {}, {.dp = 2}, {.dp = 3}, {.tp = 3}, {.dp = 2, .tp = 2}, {.dp = 2, .cp = 3}, {.dp = 2, .cp = 2, .tp = 2}};

// Batches that do not divide, one that leaves ranks without rows, and one of a single pair.
TEST_P(Contrastive, EqualsDoubleLoopsOnEveryMesh) {
  for (const std::size_t size : {1, 4, 7, 12}) {
    const Batch batch = make_batch(size, 5);
    const Expected expected = expect(batch, GetParam(), std::log(8.0));
    for (const MeshShape& shape : kMeshes) {
      // The InfoNCE loss of one pair is 0, and so are its gradients: nothing to be relative to.
      if (size == 1 && GetParam() == Kind::kInfoNce) continue;
      check(shape, batch, GetParam(), expected);
    }
  }
}

// A rank of `dp` without a single pair, and one with pairs alone, among others.
TEST_P(Contrastive, IsThatOfThePairsAloneOnEveryMesh) {
  for (const std::size_t size : {4, 7, 12}) {
    for (const bool first_half : {false, true}) {
      Batch batch = make_batch(size, 5);
      for (std::size_t i = 0; i < size; ++i) batch.is_pair.push_back(first_half ? 2 * i < size : i % 5 != 2);
      const Expected expected = expect(batch, GetParam(), std::log(8.0));
      // Whatever stands in the rows of what is no pair.
      for (std::size_t i = 0; i < size; ++i) {
        if (batch.is_pair[i]) continue;
        for (std::size_t e = 0; e < batch.width; ++e) {
          batch.image[i * batch.width + e] = 100 + static_cast<double>(e);
          batch.text[i * batch.width + e] = -50;
        }
      }
      for (const MeshShape& shape : kMeshes) check(shape, batch, GetParam(), expected);
    }
  }
}

TEST_P(Contrastive, IsNothingOfFewerThanTwoPairs) {
  for (const std::size_t num_pairs : {0, 1}) {
    run_ranks(2, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, {.dp = 2}, device);
      const Plan plan = tensor_parallel_plan();
      ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
      const ObjectiveSpec spec = contrastive_objective({.kind = GetParam(), .initial_scale = 8, .needs = kNeeds});
      const std::unique_ptr<Objective> objective = spec.make(store);
      Batch batch = make_batch(6, 5);
      batch.is_pair.assign(6, false);
      if (num_pairs == 1) batch.is_pair[4] = true;
      AllReducer reducer(device, mesh, store.all(), 1 << 20);
      reducer.begin_step();
      const Pass pass{.device = device, .mesh = mesh, .plan = plan};
      const Range mine = shard_range(6, 2, mesh.rank(Axis::kDp));
      const Layout layout = pass.layout("batch");
      const Variable image = embeddings(device, rows_of(batch.image, mine, batch.width), batch, layout);
      const Variable text = embeddings(device, rows_of(batch.text, mine, batch.width), batch, layout);
      const Variable loss = objective->loss(std::vector{image, text}, presence_of(device, batch, mine), pass);
      EXPECT_EQ(loss.tensor().item<double>(), 0);
      EXPECT_EQ(pairs_reported(spec, *objective, device), static_cast<double>(num_pairs));
      const double one = 1;
      const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), loss.layout().of_gradient()};
      backward(std::span(&loss, 1), std::span(&seed, 1), {.poll = [&] { reducer.poll(); }});
      reducer.finish();
      std::vector<Tensor> gradients{image.gradient()->tensor, text.gradient()->tensor};
      for (const Parameter* p : store.all()) gradients.push_back(p->gradient.tensor());
      for (const Tensor& gradient : gradients) {
        for (const float x : gradient.to_vector<float>()) ASSERT_EQ(x, 0);
      }
    });
  }
}

// The scale is held in float32 as its logarithm; what is reported is its inverse.
TEST_P(Contrastive, StartsAtItsConfiguredScale) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 1, DType::kFloat32);
  const ObjectiveSpec spec =
      contrastive_objective({.kind = GetParam(), .initial_scale = 8, .maximum_scale = 100}, 0.25);
  const std::unique_ptr<Objective> objective = spec.make(store);
  const Parameter& log_scale = *store.all()[0];
  EXPECT_NEAR(std::exp(log_scale.value.item<float>()), 8, 8 * 1e-6);
  EXPECT_NEAR(std::exp(log_scale.maximum), 100, 100 * 1e-6);
  EXPECT_FALSE(log_scale.decay);
  EXPECT_EQ(spec.weight, 0.25);
  EXPECT_EQ(spec.coupling, LossCoupling::kCoupled);
  ASSERT_EQ(spec.scalars.size(), 1u);
  const Variable rows = Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, Shape{4, 3}), Shape{4, 3}, {});
  const Variable both[] = {rows, rows};
  objective->loss(both, Fields(), Pass{.device = rank.device, .mesh = rank.mesh, .plan = plan});
  const Tensor held = Tensor::zeros(rank.device, DType::kFloat64, Shape{1});
  objective->write_scalars(rank.device.stream(), held.data<double>());
  EXPECT_NEAR(spec.scalars[0].shown(held.item<double>()), 1.0 / 8, 1e-6 / 8);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Contrastive, ::testing::Values(Kind::kInfoNce, Kind::kSigmoid),
                         [](const auto& param) { return param.param == Kind::kInfoNce ? "infonce" : "sigmoid"; });

// Similarities are evaluated in blocks of 256 rows: the last block of 300 is a short one.
TEST(ContrastiveBlocks, GiveTheLossOfTheWhole) {
  Batch batch = make_batch(300, 6);
  for (const auto& [kind, masks] :
       {std::pair(Kind::kInfoNce, false), {Kind::kSigmoid, false}, {Kind::kInfoNce, true}, {Kind::kSigmoid, true}}) {
    batch.is_pair.clear();
    for (std::size_t i = 0; masks && i < batch.size; ++i) batch.is_pair.push_back(i % 5 != 2);
    const double expected = (kind == Kind::kInfoNce ? info_nce : sigmoid)(batch, std::log(8.0), kBias);
    OneRank rank;
    const Plan plan = tensor_parallel_plan();
    ParameterStore store(rank.device, rank.mesh, plan, 1, DType::kFloat32);
    ContrastiveConfig config{.kind = kind, .initial_scale = 8, .initial_bias = kBias};
    if (masks) config.needs = kNeeds;
    const std::unique_ptr<Objective> objective = contrastive_objective(config).make(store);
    const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan};
    const Variable image = embeddings(rank.device, batch.image, batch, Layout());
    const Variable text = embeddings(rank.device, batch.text, batch, Layout());
    const Variable loss = objective->loss(std::vector{image, text},
                                          presence_of(rank.device, batch, Range{.begin = 0, .length = 300}), pass);
    EXPECT_NEAR(loss.tensor().item<double>(), expected, tolerance(DType::kFloat32).summed * expected);
    const double two = 2;  // not 1: the gradient is that of the seed times the loss
    const Gradient seed{Tensor::from<double>(rank.device, Shape{1}, std::span(&two, 1)), loss.layout()};
    backward(std::span(&loss, 1), std::span(&seed, 1));
    for (const std::size_t element : {std::size_t{3}, batch.image.size() - 1}) {
      for (const bool of_text : {false, true}) {
        Batch moved = batch;
        double& x = (of_text ? moved.text : moved.image)[element];
        const auto at = [&](double step) {
          const double saved = std::exchange(x, x + step);
          const double value = (kind == Kind::kInfoNce ? info_nce : sigmoid)(moved, std::log(8.0), kBias);
          x = saved;
          return value;
        };
        const double numeric = 2 * (at(1e-5) - at(-1e-5)) / 2e-5;
        const std::vector<float> gradient = (of_text ? text : image).gradient()->tensor.to_vector<float>();
        EXPECT_NEAR(gradient[element], numeric, 1e-5 * std::abs(numeric) + 1e-9);
      }
    }
  }
}

}  // namespace
}  // namespace triptych::test
