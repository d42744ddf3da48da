#include "models/detector.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model_alone.h"
#include "models/classifier.h"
#include "models/grounder.h"

namespace triptych::test {
namespace {

constexpr int64_t kSize = 6, kPatch = 2, kWidth = 6, kImages = 3;
constexpr std::size_t kPatches = (kSize / kPatch) * (kSize / kPatch);

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

Fields images(Device& device, uint8_t changed = 0) {
  std::vector<uint8_t> pixels;
  for (std::size_t i = 0; i < kImages * kSize * kSize * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 73 % 256));
  pixels[40] ^= changed;  // of the first
  Fields fields(kImages);
  fields.set("pixels", Tensor::from<uint8_t>(device, Shape{kImages, kSize, kSize, 3}, pixels));
  return fields;
}

// Where a patch is, as a box before its sigmoid: its centre, and a third of the image's sides.
Rows place_of(std::size_t patch) {
  Rows place{(static_cast<double>(patch % 3) + 0.5) / 3, (static_cast<double>(patch / 3) + 0.5) / 3, 1.0 / 3, 1.0 / 3};
  for (double& share : place) share = std::log(share / (1 - share));
  return place;
}

// Carion et al. 2020, section 3.2: three layers and a sigmoid.
Rows box_of(Alone& model, const std::string& name, const Rows& x, const Rows& place) {
  Rows h = x;
  for (const int number : {0, 1, 2}) {
    const std::string part = fmt::format("{}.{}", name, number);
    h = product(model.parameter(part + ".weight"), model.parameter(part + ".bias"), h);
    if (number < 2) h = gelu(h);
  }
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = 1 / (1 + std::exp(-h[i] - place[i]));
  return h;
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
  Alone model(detector(small_detector()), "boxes");
  const Fields fields = images(model.rank.device);
  const Rows states = model.infer_rows(fields, "decoder"), places = model.parameter("detect.head.places");
  Rows logits, boxes;
  for (std::size_t row = 0; row < kImages * 5; ++row) {
    const Rows x = normalized(row_of(states, row, 4), model.parameter("detect.head.norm.weight"),
                              model.parameter("detect.head.norm.bias"));
    const Rows scores =
        product(model.parameter("detect.head.class.weight"), model.parameter("detect.head.class.bias"), x);
    const Rows box = box_of(model, "detect.head.box", x, row_of(places, row % 5, 4));
    logits.insert(logits.end(), scores.begin(), scores.end());
    boxes.insert(boxes.end(), box.begin(), box.end());
  }
  EXPECT_LT(relative_error(model.infer_rows(fields, "class_logits"), logits), tolerance(DType::kFloat32).summed);
  EXPECT_LT(relative_error(model.infer_rows(fields, "boxes"), boxes), tolerance(DType::kFloat32).summed);
}

// Queries are a set: with two of them exchanged, what they find is exchanged. And each image is looked at by itself.
TEST(Detector, QueriesAreASet) {
  Alone model(detector(small_detector()), "boxes");
  const Rows before = model.infer_rows(images(model.rank.device), "boxes");
  for (const auto& [name, width] : {std::pair<std::string, std::size_t>{"decoder.embed.queries", 4},
                                    std::pair<std::string, std::size_t>{"detect.head.places", 4}}) {
    std::vector<float> values = model.find(name).value.to_vector<float>();
    for (std::size_t c = 0; c < width; ++c) std::swap(values[c], values[3 * width + c]);
    model.write(name, values);
  }
  Rows expected = before;
  for (std::size_t i = 0; i < kImages; ++i) {
    for (std::size_t c = 0; c < 4; ++c) std::swap(expected[i * 20 + c], expected[i * 20 + 12 + c]);
  }
  const Rows after = model.infer_rows(images(model.rank.device), "boxes");
  EXPECT_LT(relative_error(after, expected), tolerance(DType::kFloat32).summed);
  EXPECT_GT(relative_error(after, before), 0.01);

  const Rows changed = model.infer_rows(images(model.rank.device, 128), "boxes");
  EXPECT_NE(row_of(changed, 0, 20), row_of(after, 0, 20));
  for (const std::size_t image : {1u, 2u}) EXPECT_EQ(row_of(changed, image, 20), row_of(after, image, 20));
}

// A query of each patch is told its box from where the patch is, and at first a third of the image's sides.
TEST(Detector, PatchesLookFromWhereTheyAre) {
  constexpr std::size_t kRow = 4 * kPatches;
  DetectorConfig config = small_detector();
  config.queries = DetectorConfig::Queries::kPatches;
  config.num_queries = static_cast<int64_t>(kPatches);
  Alone model(detector(config), "boxes");
  const Fields fields = images(model.rank.device);
  const Rows states = model.infer_rows(fields, "decoder"), found = model.infer_rows(fields, "boxes");
  Rows boxes;
  for (std::size_t row = 0; row < kImages * kPatches; ++row) {
    const Rows x = normalized(row_of(states, row, 4), model.parameter("detect.head.norm.weight"),
                              model.parameter("detect.head.norm.bias"));
    const Rows box = box_of(model, "detect.head.box", x, place_of(row % kPatches));
    boxes.insert(boxes.end(), box.begin(), box.end());
  }
  EXPECT_LT(relative_error(found, boxes), tolerance(DType::kFloat32).summed);

  const Rows changed = model.infer_rows(images(model.rank.device, 128), "boxes");
  EXPECT_NE(row_of(changed, 0, kRow), row_of(found, 0, kRow));
  for (const std::size_t image : {1u, 2u}) EXPECT_EQ(row_of(changed, image, kRow), row_of(found, image, kRow));

  // Where the last product of the boxes says nothing, what is left is the places alone.
  Alone begun(detector(config), "boxes");
  for (const Parameter* p : begun.rank.store.all()) {
    if (p->name.starts_with("detect.head.box.2")) begun.write(p->name, std::vector<float>(p->value.num_elements()));
  }
  const Rows places = begun.infer_rows(fields, "boxes");
  for (std::size_t patch = 0; patch < kPatches; ++patch) {
    EXPECT_NEAR(places[4 * patch], (static_cast<double>(patch % 3) + 0.5) / 3, 1e-6);
    EXPECT_NEAR(places[4 * patch + 1], (static_cast<double>(patch / 3) + 0.5) / 3, 1e-6);
    EXPECT_NEAR(places[4 * patch + 2], 1.0 / 3, 1e-6);
  }
}

// The mean of the patches' places, as boxes before their sigmoid, weighted by softmax(query . key / sqrt(H)).
Rows pointed_place(Alone& model, const Rows& phrase, const Rows& image) {
  const std::size_t width = phrase.size();
  const Rows query = product(model.parameter("ground.head.query.weight"), Rows(width, 0), phrase);
  Rows place(4, 0);
  double total = 0;
  for (std::size_t patch = 0; patch < kPatches; ++patch) {
    const Rows key = product(model.parameter("ground.head.key.weight"), Rows(width, 0), row_of(image, patch, kWidth));
    double score = 0;
    for (std::size_t c = 0; c < width; ++c) score += query[c] * key[c] / std::sqrt(static_cast<double>(width));
    const Rows of_patch = place_of(patch);
    for (std::size_t c = 0; c < 4; ++c) place[c] += std::exp(score) * of_patch[c];
    total += std::exp(score);
  }
  for (double& share : place) share /= total;
  return place;
}

TEST(Grounder, TheFirstTokenHasTheBoxOfPhraseAndImage) {
  Alone model(grounder(small_grounder()), "box");
  const auto with_text = [&](std::vector<int32_t> tokens, uint8_t changed = 0) {
    Fields fields = images(model.rank.device, changed);
    fields.set("tokens", Tensor::from<int32_t>(model.rank.device, Shape{kImages, 7}, tokens));
    fields.set("lengths", Tensor::from<int32_t>(model.rank.device, Shape{kImages}, std::vector<int32_t>{4, 7, 2}));
    return fields;
  };
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 21; ++i) tokens.push_back(i * i % 11);
  const Rows box = model.infer_rows(with_text(tokens), "box"), states = model.infer_rows(with_text(tokens), "text"),
             memory = model.infer_rows(with_text(tokens), "memory");
  Rows expected;
  for (std::size_t row = 0; row < kImages; ++row) {
    const Rows x = normalized(row_of(states, row * 7, 4), model.parameter("ground.head.norm.weight"),
                              model.parameter("ground.head.norm.bias"));
    const Rows one =
        box_of(model, "ground.head.box", x, pointed_place(model, x, row_of(memory, row, kPatches * kWidth)));
    expected.insert(expected.end(), one.begin(), one.end());
  }
  EXPECT_LT(relative_error(box, expected), tolerance(DType::kFloat32).summed);
  // Another pixel, and another word, make another box of their own sample; what stands in the padding makes none.
  EXPECT_NE(row_of(model.infer_rows(with_text(tokens, 128), "box"), 0, 4), row_of(box, 0, 4));
  std::vector<int32_t> word = tokens, padding = tokens;
  word[3] = 10;
  padding[4] = 10;
  EXPECT_NE(row_of(model.infer_rows(with_text(word), "box"), 0, 4), row_of(box, 0, 4));
  EXPECT_EQ(row_of(model.infer_rows(with_text(word), "box"), 1, 4), row_of(box, 1, 4));
  EXPECT_EQ(model.infer_rows(with_text(padding), "box"), box);
}

}  // namespace
}  // namespace triptych::test
