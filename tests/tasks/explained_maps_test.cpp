#include "tasks/explained_maps.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

// Four patches, a text of two tokens.
ExplainedModel model_of(FusionKind kind, bool both_ways = true) {
  ExplainedModel model{.image = {.size = 2, .patch = 1, .pooling = ImageEncoderConfig::Pooling::kMean},
                       .class_slot = "logits",
                       .fusion = FusionConfig{.kind = kind, .both_ways = both_ways},
                       .text_length = 2};
  return model;
}

// One head with a gradient of 1 everywhere; `rows` are the rows that are not 0.
AttentionWeights attention(const std::string& name, int64_t queries, int64_t keys,
                           const std::vector<std::pair<int64_t, std::vector<double>>>& rows) {
  Matrix weights{queries, keys, std::vector<double>(static_cast<std::size_t>(queries * keys), 0)}, ones = weights;
  for (double& value : ones.values) value = 1;
  for (const auto& [row, values] : rows) {
    for (std::size_t k = 0; k < values.size(); ++k) weights.at(row, static_cast<int64_t>(k)) = values[k];
  }
  return {.name = name, .heads = {weights}, .gradients = {ones}};
}

// The image's first patch attends to its last one: relevance I, and 1 there.
AttentionWeights of_image() {
  return attention("image.blocks.0.attention", 4, 4, {{0, {0, 0, 0, 1}}});
}

std::vector<double> relevance_of(const ExplainedModel& model, const std::vector<AttentionWeights>& all) {
  Explanation explanation;
  explanation.subject = "the answer cat";
  add_attention_maps(all, model, explanation);
  EXPECT_EQ(explanation.maps.at(1).name, "relevance");
  return explanation.maps.at(1).values;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(found[k], expected[k], 1e-12) << k;
}

// The text's first token attends to the image's four; of the first of them a part as large is the last patch's.
TEST(FusedRelevance, GoesThroughTheImagesEncoder) {
  const std::vector<double> looks{0.1, 0.2, 0.3, 0.4}, expected{0.1, 0.2, 0.3, 0.5};
  const std::vector<AttentionWeights> joined{of_image(), attention("fusion.blocks.0.attention", 6, 6, {{4, looks}})};
  expect_near(relevance_of(model_of(FusionKind::kConcatenation), joined), expected);
  const std::vector<AttentionWeights> across{of_image(),
                                             attention("fusion.text.blocks.0.cross_attention", 2, 4, {{0, looks}})};
  expect_near(relevance_of(model_of(FusionKind::kCrossAttention, false), across), expected);
}

// The image's mean is read as well: its second token has come to attend to the third, a quarter of the mean.
TEST(FusedRelevance, CountsTheImagesMeanWhereThatIsRead) {
  const std::vector<AttentionWeights> all{
      of_image(), attention("fusion.text.blocks.0.cross_attention", 2, 4, {{0, {0.1, 0.2, 0.3, 0.4}}}),
      attention("fusion.image.blocks.0.attention", 4, 4, {{1, {0, 0, 1, 0}}})};
  expect_near(relevance_of(model_of(FusionKind::kCrossAttention), all), {0.1, 0.2, 0.3 + 0.25, 0.5});
}

// A mixture without attention: the mean over the image's tokens of what each is made of beside itself.
TEST(FusedRelevance, OfAGatedFusionIsThatOfTheMean) {
  expect_near(relevance_of(model_of(FusionKind::kGated), {of_image()}), {0, 0, 0, 0.25});
}

// Two queries: one is of the second patch, the other of the first, and so half of the last. What the text takes of both
// is 1 and 3.
TEST(FusedRelevance, GoesThroughAResampler) {
  ExplainedModel model = model_of(FusionKind::kCrossAttention, false);
  model.connector = {.kind = ConnectorKind::kResampler, .queries = 2, .layers = 1};
  const std::vector<AttentionWeights> all{
      of_image(), attention("connector.blocks.0.cross_attention", 2, 4, {{0, {0, 0.5}}, {1, {0.5}}}),
      attention("fusion.text.blocks.0.cross_attention", 2, 2, {{0, {1, 3}}})};
  expect_near(relevance_of(model, all), {1.5, 1, 0, 1.5});
}

TEST(ExplainedMaps, AreOfTheAttentionsOfTheModelsParts) {
  ExplainedModel model = model_of(FusionKind::kConcatenation);
  EXPECT_TRUE(is_explained("image.blocks.0.attention", model));
  EXPECT_TRUE(is_explained("fusion.text.blocks.1.cross_attention", model));
  EXPECT_FALSE(is_explained("text.blocks.0.attention", model));
  model.decoder = "text";
  EXPECT_TRUE(is_explained("text.blocks.0.attention", model));
}

}  // namespace
}  // namespace triptych::test
