#include "models/detector.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "models/classifier.h"
#include "models/grounder.h"
#include "objectives/detection.h"
#include "objectives/grounding.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/gradient_check.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Doubles = std::vector<double>;

constexpr int64_t kSize = 6, kPatch = 2, kWidth = 6, kImages = 3;

ImageEncoderConfig small_encoder() {
  return {.size = kSize,
          .patch = kPatch,
          .sizes = {.width = kWidth, .layers = 1, .heads = 2, .feed_forward = 10},
          .pooling = ImageEncoderConfig::Pooling::kMean};
}

DetectorConfig small_detector() {
  return {.image = small_encoder(),
          .decoder = {.width = 4, .layers = 1, .heads = 2, .feed_forward = 6, .positions = PositionKind::kNone},
          .num_queries = 5,
          .num_classes = 2};
}

GrounderConfig small_grounder() {
  return {.image = small_encoder(),
          .text = {.length = 7,
                   .vocabulary = 11,
                   .sizes = {.width = 4, .layers = 2, .heads = 2, .feed_forward = 6},
                   .causal = false}};
}

// A model on one rank, of parameters that are neither zero nor one, which would hide what is wrong.
struct OfOneRank {
  OfOneRank(const ModelSpec& model, const ObjectiveSpec& objective)
      : group(make_self_group("models")),
        rank(*group, {}, model, {objective}, gpipe(1, 1, LossCoupling::kSplit), {.seed = 5}) {
    for (Parameter* p : rank.store.all()) {
      const std::vector<float> values = random_values(p->name, p->global_shape.num_elements(), 0.7);
      rank.device.write(p->value.raw(), values.data(), values.size() * sizeof(float));
    }
    rank.store.refresh_compute_copies();
  }
  Doubles infer(const Fields& fields, const std::string& slot) {
    const std::vector<float> found =
        value_of(rank.executor.infer(fields, std::span(&slot, 1)), slot).tensor().to_vector<float>();
    return {found.begin(), found.end()};
  }
  Doubles parameter(const std::string& name) {
    for (const Parameter* p : rank.store.all()) {
      if (p->name != name) continue;
      const std::vector<float> values = p->value.to_vector<float>();
      return {values.begin(), values.end()};
    }
    throw std::out_of_range(name);
  }

  std::unique_ptr<Group> group;
  RankModel rank;
};

Fields images(Device& device, uint8_t changed = 0) {
  std::vector<uint8_t> pixels;
  for (std::size_t i = 0; i < kImages * kSize * kSize * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 73 % 256));
  pixels[40] ^= changed;  // of the first
  Fields fields(kImages);
  fields.set("pixels", Tensor::from<uint8_t>(device, Shape{kImages, kSize, kSize, 3}, pixels));
  return fields;
}

Doubles affine(const Doubles& weight, const Doubles& bias, const Doubles& x) {
  Doubles y = bias;
  for (std::size_t o = 0; o < y.size(); ++o) {
    for (std::size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
  }
  return y;
}

Doubles layer_normed(const Doubles& x, const Doubles& weight, const Doubles& bias) {
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (const double value : x) variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  Doubles y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back((x[i] - mean) / std::sqrt(variance + static_cast<double>(kLayerNormEpsilon)) * weight[i] + bias[i]);
  }
  return y;
}

// Carion et al. 2020, section 3.2: three layers and a sigmoid.
Doubles box_of(OfOneRank& model, const std::string& name, const Doubles& x, const Doubles& place) {
  Doubles h = x;
  for (const int number : {0, 1, 2}) {
    const std::string part = fmt::format("{}.{}", name, number);
    h = affine(model.parameter(part + ".weight"), model.parameter(part + ".bias"), h);
    for (double& value : h) {
      if (number < 2) value *= 0.5 * (1 + std::erf(value / std::sqrt(2.0)));
    }
  }
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = 1 / (1 + std::exp(-h[i] - place[i]));
  return h;
}

Doubles part_of(const Doubles& all, std::size_t row, std::size_t size) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * size);
  return {begin, begin + static_cast<std::ptrdiff_t>(size)};
}

// What detection takes from a pretrained encoder, name by name and shape by shape.
TEST(Detector, HasTheEncoderOfAClassifier) {
  const auto shapes = [](const ModelSpec& model) {
    OneRank rank;
    const Plan plan = tensor_parallel_plan();
    ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
    for (const BlockSpec& block : model.blocks) block.make(store);
    std::map<std::string, std::vector<float>> found;
    for (const Parameter* p : store.all()) {
      const bool is_encoder = p->name.starts_with("image.embed") || p->name.starts_with("image.blocks");
      if (is_encoder) found[p->name + p->global_shape.to_string()] = p->value.to_vector<float>();
    }
    return found;
  };
  const auto expected = shapes(classifier({.image = small_encoder()}));
  EXPECT_EQ(shapes(detector(small_detector())), expected);
  EXPECT_EQ(shapes(grounder(small_grounder())), expected);
  EXPECT_EQ(expected.size(), 15u);
}

TEST(Detector, TellsClassesAndBoxesOfEachQuery) {
  OfOneRank model(detector(small_detector()), detection_objective({}));
  const Fields fields = images(model.rank.device);
  const Doubles states = model.infer(fields, "decoder"), places = model.parameter("detect.head.places");
  Doubles logits, boxes;
  for (std::size_t row = 0; row < kImages * 5; ++row) {
    const Doubles x = layer_normed(part_of(states, row, 4), model.parameter("detect.head.norm.weight"),
                                   model.parameter("detect.head.norm.bias"));
    const Doubles scores =
        affine(model.parameter("detect.head.class.weight"), model.parameter("detect.head.class.bias"), x);
    const Doubles box = box_of(model, "detect.head.box", x, part_of(places, row % 5, 4));
    logits.insert(logits.end(), scores.begin(), scores.end());
    boxes.insert(boxes.end(), box.begin(), box.end());
  }
  EXPECT_LT(relative_error(model.infer(fields, "class_logits"), logits), tolerance(DType::kFloat32).summed);
  EXPECT_LT(relative_error(model.infer(fields, "boxes"), boxes), tolerance(DType::kFloat32).summed);
}

// Queries are a set: with two of them exchanged, what they find is exchanged. And each image is looked at by itself.
TEST(Detector, QueriesAreASet) {
  OfOneRank model(detector(small_detector()), detection_objective({}));
  const Doubles before = model.infer(images(model.rank.device), "boxes");
  for (const auto& [name, width] : {std::pair<std::string, std::size_t>{"decoder.embed.queries", 4},
                                    std::pair<std::string, std::size_t>{"detect.head.places", 4}}) {
    for (Parameter* p : model.rank.store.all()) {
      if (p->name != name) continue;
      std::vector<float> values = p->value.to_vector<float>();
      for (std::size_t c = 0; c < width; ++c) std::swap(values[c], values[3 * width + c]);
      model.rank.device.write(p->value.raw(), values.data(), values.size() * sizeof(float));
    }
  }
  model.rank.store.refresh_compute_copies();
  Doubles expected = before;
  for (std::size_t i = 0; i < kImages; ++i) {
    for (std::size_t c = 0; c < 4; ++c) std::swap(expected[i * 20 + c], expected[i * 20 + 12 + c]);
  }
  const Doubles after = model.infer(images(model.rank.device), "boxes");
  EXPECT_LT(relative_error(after, expected), tolerance(DType::kFloat32).summed);
  EXPECT_GT(relative_error(after, before), 0.01);

  const Doubles changed = model.infer(images(model.rank.device, 128), "boxes");
  EXPECT_NE(part_of(changed, 0, 20), part_of(after, 0, 20));
  for (const std::size_t image : {1u, 2u}) EXPECT_EQ(part_of(changed, image, 20), part_of(after, image, 20));
}

TEST(Grounder, TheFirstTokenHasTheBoxOfPhraseAndImage) {
  OfOneRank model(grounder(small_grounder()), grounding_objective({}));
  const auto with_text = [&](std::vector<int32_t> tokens, uint8_t changed = 0) {
    Fields fields = images(model.rank.device, changed);
    fields.set("tokens", Tensor::from<int32_t>(model.rank.device, Shape{kImages, 7}, tokens));
    fields.set("lengths", Tensor::from<int32_t>(model.rank.device, Shape{kImages}, std::vector<int32_t>{4, 7, 2}));
    return fields;
  };
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 21; ++i) tokens.push_back(i * i % 11);
  const Doubles box = model.infer(with_text(tokens), "box"), states = model.infer(with_text(tokens), "text");
  Doubles expected;
  for (std::size_t row = 0; row < kImages; ++row) {
    const Doubles x = layer_normed(part_of(states, row * 7, 4), model.parameter("ground.head.norm.weight"),
                                   model.parameter("ground.head.norm.bias"));
    const Doubles one = box_of(model, "ground.head.box", x, Doubles(4, 0));
    expected.insert(expected.end(), one.begin(), one.end());
  }
  EXPECT_LT(relative_error(box, expected), tolerance(DType::kFloat32).summed);
  // Another pixel, and another word, make another box of their own sample; what stands in the padding makes none.
  EXPECT_NE(part_of(model.infer(with_text(tokens, 128), "box"), 0, 4), part_of(box, 0, 4));
  std::vector<int32_t> word = tokens, padding = tokens;
  word[3] = 10;
  padding[4] = 10;
  EXPECT_NE(part_of(model.infer(with_text(word), "box"), 0, 4), part_of(box, 0, 4));
  EXPECT_EQ(part_of(model.infer(with_text(word), "box"), 1, 4), part_of(box, 1, 4));
  EXPECT_EQ(model.infer(with_text(padding), "box"), box);
}

}  // namespace
}  // namespace triptych::test
