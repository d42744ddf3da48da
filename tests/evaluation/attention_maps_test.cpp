#include "evaluation/attention_maps.h"

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "data/field_sources.h"
#include "execution/batch_feeder.h"
#include "models/classifier.h"
#include "objectives/cross_entropy.h"
#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/multiply.h"
#include "ops/reshape.h"
#include "ops/scale.h"
#include "ops/slice.h"
#include "ops/softmax.h"
#include "ops/sum.h"
#include "ops/transpose.h"
#include "parallel/pipeline/schedules.h"
#include "support/gradient_check.h"
#include "support/one_rank.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int64_t kHeads = 2, kDim = 3, kQueries = 4, kKeys = 5, kSamples = 2, kWide = kHeads * kDim;

Variable constant(Device& device, const std::string& name, const Shape& shape) {
  const std::vector<float> values = random_values(name, shape.num_elements());
  return Variable::constant(Tensor::from<float>(device, shape, values), shape, Layout());
}

// [S, H] of one head of one sample, [S, D].
Variable head_of(const Variable& x, int64_t sample, int64_t offset, int64_t head, int64_t stride) {
  const int64_t tokens = x.global_shape()[1];
  const Variable rows = reshape(slice(x, 0, sample, 1), Shape{tokens, stride});
  return slice(rows, 1, offset + head * kDim, kDim);
}

// a [S, D] times b [T, D], over D, as [S, T].
Variable products(const Variable& a, const Variable& b, const Mesh& mesh) {
  const int64_t t = b.global_shape()[0];
  const Variable repeated = transpose(broadcast(a, t, Layout(), mesh), {1, 0, 2});
  return sum(multiply(repeated, b), {2});
}

// The weights by plain operations: broadcast, multiply, sum, softmax. What is masked gets a score of -1e9.
std::vector<double> composed_weights(const Variable& q, const Variable& kv, int64_t sample, int64_t head, bool causal,
                                     int64_t length, const Mesh& mesh) {
  const Variable a = head_of(q, sample, 0, head, kWide), b = head_of(kv, sample, 0, head, 2 * kWide);
  Variable scores = scale(products(a, b, mesh), 1 / std::sqrt(static_cast<float>(kDim)));
  std::vector<float> mask;
  for (int64_t i = 0; i < kQueries; ++i) {
    for (int64_t j = 0; j < kKeys; ++j) {
      mask.push_back(j < length && (!causal || j <= i + kKeys - kQueries) ? 0.0f : -1e9f);
    }
  }
  const Shape shape{kQueries, kKeys};
  scores = add(scores, Variable::constant(Tensor::from<float>(q.tensor().device(), shape, mask), shape, Layout()));
  const std::vector<float> weights = softmax(scores).tensor().to_vector<float>();
  return {weights.begin(), weights.end()};
}

TEST(AttentionWeightsTest, AreThoseOfACompositionOfPlainOperations) {
  OneRank rank;
  const Variable q = constant(rank.device, "q", Shape{kSamples, kQueries, kWide});
  const Variable kv = constant(rank.device, "kv", Shape{kSamples, kKeys, 2, kWide});
  const Variable flat = reshape(kv, Shape{kSamples, kKeys, 2 * kWide});
  const std::vector<int32_t> lengths{3, 5};
  for (const bool causal : {false, true}) {
    for (const bool has_lengths : {false, true}) {
      const SeenAttention seen{
          .name = "a",
          .num_heads = kHeads,
          .causal = causal,
          .q = q.tensor(),
          .kv = kv.tensor(),
          .lengths = has_lengths ? Tensor::from<int32_t>(rank.device, Shape{kSamples}, lengths) : Tensor(),
          .gradient = {}};
      for (int64_t sample = 0; sample < kSamples; ++sample) {
        const AttentionWeights found = attention_weights(seen, sample);
        ASSERT_EQ(found.heads.size(), static_cast<std::size_t>(kHeads));
        EXPECT_TRUE(found.gradients.empty());
        for (int64_t head = 0; head < kHeads; ++head) {
          const std::vector<double> expected =
              composed_weights(q, flat, sample, head, causal,
                               has_lengths ? lengths[static_cast<std::size_t>(sample)] : kKeys, rank.mesh);
          EXPECT_LT(relative_error(found.heads[static_cast<std::size_t>(head)].values, expected),
                    tolerance(DType::kFloat32).summed)
              << "causal " << causal << ", sample " << sample << ", head " << head;
        }
      }
    }
  }
}

Matrix matrix(int64_t rows, int64_t cols, std::vector<double> values) {
  return {rows, cols, std::move(values)};
}

// Two layers of two tokens, on paper. (A + I) / 2 of the first is [[0.75, 0.25], [0.5, 0.5]], of the second
// [[0.5, 0.5], [0, 1]]; their product, the second on the left, is [[0.625, 0.375], [0.5, 0.5]].
TEST(Rollout, IsTheProductOnPaper) {
  const std::vector<AttentionWeights> layers{
      {.name = "0", .heads = {matrix(2, 2, {0, 1, 1, 0}), matrix(2, 2, {1, 0, 1, 0})}, .gradients = {}},
      {.name = "1", .heads = {matrix(2, 2, {0, 1, 0, 1})}, .gradients = {}}};
  EXPECT_EQ(rollout(layers).values, (std::vector<double>{0.625, 0.375, 0.5, 0.5}));
}

// The same layers with gradients: a of the first is the mean of [[0, 2], [0, 0]] and [[4, 0], [0, 0]] (what is negative
// counts as 0), of the second [[0, 0], [0, 3]]. R = I + a1 = [[3, 1], [0, 1]]; R += a2 R gives [[3, 1], [0, 4]]. A
// query behind them with a = [1, 2]: R - I = [[2, 1], [0, 3]], its rows made to sum to 1 and I added [[5/3, 1/3], [0,
// 2]].
TEST(Relevance, IsThatOfTheEquationsOnPaper) {
  const std::vector<AttentionWeights> layers{
      {.name = "0",
       .heads = {matrix(2, 2, {0, 1, 1, 0}), matrix(2, 2, {1, 0, 1, 0})},
       .gradients = {matrix(2, 2, {7, 2, -1, 5}), matrix(2, 2, {4, 9, -3, 1})}},
      {.name = "1", .heads = {matrix(2, 2, {0, 1, 0, 1})}, .gradients = {matrix(2, 2, {1, -2, 6, 3})}}};
  const Matrix found = relevance(layers);
  EXPECT_EQ(found.values, (std::vector<double>{3, 1, 0, 4}));
  const AttentionWeights pool{.name = "pool", .heads = {matrix(1, 2, {0.5, 0.5})}, .gradients = {matrix(1, 2, {2, 4})}};
  const Matrix pooled = relevance_through(pool, found);
  EXPECT_NEAR(pooled.at(0, 0), 5.0 / 3, 1e-15);
  EXPECT_NEAR(pooled.at(0, 1), 1.0 / 3 + 4, 1e-15);
}

ClassifierConfig small_classifier(ImageEncoderConfig::Pooling pooling) {
  return {.image = {.size = 6,
                    .patch = 2,
                    .sizes = {.width = 8, .layers = 2, .heads = 2, .feed_forward = 10},
                    .pooling = pooling},
          .num_classes = 3};
}

// One rank's classifier with weights that are not those of the start, whose classes have equal scores.
struct Ready {
  explicit Ready(ImageEncoderConfig::Pooling pooling)
      : world(make_self_group("test")),
        rank(*world, {}, classifier(small_classifier(pooling)),
             {cross_entropy_objective({.name = "classify", .slot = "logits", .field = "label"})},
             gpipe({1, 1, 1, LossCoupling::kSplit}), {.seed = 3}) {
    for (Parameter* p : rank.store.all()) {
      const std::vector<float> values = random_values(p->name, p->global_shape.num_elements(), 0.5);
      p->value.copy_from(Tensor::from<float>(rank.device, p->global_shape, values));
    }
    rank.store.refresh_compute_copies();
    const std::vector<FieldSource> sources{pixels_field(6)};
    const std::vector<std::string> names{"pixels"};
    fields = to_device(rank.device, synthetic_batch(sources, 5, 0, kSamples), names);
  }

  std::unique_ptr<Group> world;
  RankModel rank;
  Fields fields;
  std::vector<std::string> outputs{"logits"};
};

// A pass that is seen gives what one gives that is not, and its attentions are those whose outputs went on: v weighted
// by the weights, [.., H], is the input of the next product, which the logits' gradient reaches.
TEST(ObservedPass, GivesTheSameAndSeesEveryAttention) {
  for (const auto pooling : {ImageEncoderConfig::Pooling::kClassToken, ImageEncoderConfig::Pooling::kAttention}) {
    Ready ready(pooling);
    AttentionSink sink;
    const Values seen = ready.rank.executor.observe(ready.fields, ready.outputs, sink).outputs;
    const Values plain = ready.rank.executor.infer(ready.fields, ready.outputs);
    EXPECT_EQ(value_of(seen, "logits").tensor().to_vector<float>(),
              value_of(plain, "logits").tensor().to_vector<float>());
    std::vector<std::string> names;
    for (const SeenAttention& one : sink.all()) names.push_back(one.name);
    std::vector<std::string> expected{"image.blocks.0.attention", "image.blocks.1.attention"};
    if (pooling == ImageEncoderConfig::Pooling::kAttention) expected.emplace_back("image.pool");
    EXPECT_EQ(names, expected);
  }
}

// With every parameter frozen, the gradient of a logit with respect to an attention's output is the slope of the logit
// as an addend to that output changes: what the gradients of weights are made of.
TEST(ObservedPass, GradientsAreSlopes) {
  Ready ready(ImageEncoderConfig::Pooling::kAttention);
  ready.rank.executor.set_trained([](const std::string&) { return false; });
  AttentionSink sink;
  const Observation seen = ready.rank.executor.observe(ready.fields, ready.outputs, sink);
  const std::vector<float> seed_values{0, 1, 0, 0, 0, 0};  // of the first sample's second class
  const Gradient seed{Tensor::from<float>(ready.rank.device, Shape{kSamples, 3}, seed_values),
                      value_of(seen.outputs, "logits").layout().of_gradient()};
  ready.rank.executor.run_backward(seen, {{"logits", seed}});
  for (const SeenAttention& one : sink.all()) {
    SCOPED_TRACE(one.name);
    // The bias of the values is added to every value, and so, weights summing to 1, to every output: the slope with
    // respect to it is the sum of the output's gradients over samples and queries.
    const bool is_pool = one.name == "image.pool";
    Parameter* bias = nullptr;
    for (Parameter* p : ready.rank.store.all()) {
      if (p->name == one.name + (is_pool ? ".kv.bias" : ".qkv.bias")) bias = p;
    }
    ASSERT_NE(bias, nullptr);
    const std::vector<float> gradient = one.gradient.gradient()->tensor.to_vector<float>();
    const int64_t width = one.q.size(2), last = bias->global_shape[0] - 1;
    std::vector<double> sums(static_cast<std::size_t>(width), 0), slopes;
    for (std::size_t k = 0; k < gradient.size(); ++k) sums[k % sums.size()] += static_cast<double>(gradient[k]);
    const std::vector<float> saved = bias->value.to_vector<float>();
    const auto logit_with = [&](std::size_t element, float change) {
      std::vector<float> values = saved;
      values[element] += change;
      bias->value.copy_from(Tensor::from<float>(ready.rank.device, bias->global_shape, values));
      ready.rank.store.refresh_compute_copies();
      const Values found = ready.rank.executor.infer(ready.fields, ready.outputs);
      return static_cast<double>(value_of(found, "logits").tensor().to_vector<float>()[1]);
    };
    for (int64_t d = 0; d < width; ++d) {
      const auto element = static_cast<std::size_t>(last * width + d);
      slopes.push_back((logit_with(element, 1e-2f) - logit_with(element, -1e-2f)) / 2e-2);
    }
    logit_with(0, 0);
    EXPECT_LT(relative_error(sums, slopes), kOfSlope);
  }
}

// d(sum g o)/dA with o = A v, by central differences of o written out.
TEST(AttentionWeightsTest, GradientsAreThoseOfTheProductWithValues) {
  OneRank rank;
  const Variable q = constant(rank.device, "q", Shape{1, kQueries, kWide});
  const Variable kv = constant(rank.device, "kv", Shape{1, kKeys, 2, kWide});
  const std::vector<float> g = random_values("g", kQueries * kWide);
  const Shape shape{1, kQueries, kWide};
  AttentionSink sink;
  const Variable o =
      sink.see({.name = "a", .num_heads = kHeads, .q = q.tensor(), .kv = kv.tensor(), .lengths = {}, .gradient = {}},
               Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, shape), shape, Layout()), true);
  const Gradient seed{Tensor::from<float>(rank.device, shape, g), o.layout()};
  backward(std::span(&o, 1), std::span(&seed, 1));
  AttentionWeights found = attention_weights(sink.all().at(0), 0);
  const std::vector<float> values = kv.tensor().to_vector<float>();
  const auto weighted = [&](std::size_t head) {
    double total = 0;
    for (int64_t i = 0; i < kQueries; ++i) {
      for (int64_t d = 0; d < kDim; ++d) {
        const int64_t column = static_cast<int64_t>(head) * kDim + d;
        double sum = 0;
        for (int64_t j = 0; j < kKeys; ++j) {
          sum += found.heads[head].at(i, j) * values[static_cast<std::size_t>((j * 2 + 1) * kWide + column)];
        }
        total += sum * g[static_cast<std::size_t>(i * kWide + column)];
      }
    }
    return total;
  };
  for (std::size_t head = 0; head < kHeads; ++head) {
    std::vector<double> slopes;
    for (double& weight : found.heads[head].values) {
      const double saved = weight;
      weight = saved + 1e-4;
      const double up = weighted(head);
      weight = saved - 1e-4;
      slopes.push_back((up - weighted(head)) / 2e-4);
      weight = saved;
    }
    EXPECT_LT(relative_error(found.gradients[head].values, slopes), tolerance(DType::kFloat32).summed);
  }
}

}  // namespace
}  // namespace triptych::test
