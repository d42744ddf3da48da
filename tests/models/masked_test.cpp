#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model_alone.h"
#include "models/classifier.h"
#include "models/masked_image.h"
#include "models/masked_text.h"

namespace triptych::test {
namespace {

using Pooling = ImageEncoderConfig::Pooling;

// ---- Images

constexpr int64_t kBatch = 2, kSize = 6, kPatches = 9, kVisible = 3, kWidth = 6, kDecoderWidth = 4;
const std::vector<int32_t> kVisiblePatches{1, 4, 8, 0, 2, 3};

MaskedImageConfig small_config(Pooling pooling) {
  return {.image = {.size = kSize,
                    .patch = 2,
                    .sizes = {.width = kWidth, .layers = 1, .heads = 2, .feed_forward = 10},
                    .pooling = pooling,
                    .visible = kVisible},
          .decoder = {.width = kDecoderWidth, .layers = 1, .heads = 2, .feed_forward = 6}};
}

Fields image_fields(Device& device, const std::vector<uint8_t>& pixels) {
  std::vector<int32_t> sources(kBatch * kPatches, 0);
  for (std::size_t k = 0; k < kVisiblePatches.size(); ++k) {
    sources[k / kVisible * kPatches + static_cast<std::size_t>(kVisiblePatches[k])] =
        static_cast<int32_t>(k % kVisible) + 1;
  }
  Fields fields(kBatch);
  fields.set("pixels", Tensor::from<uint8_t>(device, Shape{kBatch, kSize, kSize, 3}, pixels));
  fields.set("visible_patches", Tensor::from<int32_t>(device, Shape{kBatch, kVisible}, kVisiblePatches));
  fields.set("patch_sources", Tensor::from<int32_t>(device, Shape{kBatch, kPatches}, sources));
  return fields;
}

std::vector<uint8_t> small_images() {
  std::vector<uint8_t> pixels;
  for (std::size_t i = 0; i < kBatch * kSize * kSize * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 73 % 256));
  return pixels;
}

// What a classifier takes from it, name by name and shape by shape.
TEST(MaskedImage, HasTheEncoderOfAClassifier) {
  for (const Pooling pooling : {Pooling::kClassToken, Pooling::kMean}) {
    const auto shapes = [](const ModelSpec& model) {
      OneRank rank;
      const Plan plan = tensor_parallel_plan();
      ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
      for (const BlockSpec& block : model.blocks) block.make(store);
      std::map<std::string, std::vector<float>> found;
      for (const Parameter* p : store.all()) {
        if (p->name.starts_with("image.") && !p->name.starts_with("image.norm")) {
          found[p->name + p->global_shape.to_string()] = p->value.to_vector<float>();
        }
      }
      return found;
    };
    MaskedImageConfig config = small_config(pooling);
    const auto masked = shapes(masked_image(config));
    config.image.visible = 0;
    EXPECT_EQ(masked, shapes(classifier({.image = config.image})));
    EXPECT_EQ(masked.size(), pooling == Pooling::kMean ? 15u : 16u);
  }
}

TEST(MaskedImage, TheEncoderDoesNotSeeMaskedPatches) {
  for (const Pooling pooling : {Pooling::kClassToken, Pooling::kMean}) {
    Alone alone(masked_image(small_config(pooling)), "reconstruction");
    const std::vector<float> expected = alone.infer(image_fields(alone.rank.device, small_images()), "reconstruction");
    for (std::size_t patch = 0; patch < kPatches; ++patch) {
      std::vector<uint8_t> pixels = small_images();
      const std::size_t row = patch / 3 * 2, column = patch % 3 * 2;
      pixels[(row * kSize + column) * 3] ^= 128;  // of the first image
      const std::vector<float> found = alone.infer(image_fields(alone.rank.device, pixels), "reconstruction");
      const bool is_visible = patch == 1 || patch == 4 || patch == 8;
      EXPECT_EQ(found != expected, is_visible) << patch;
      const auto second = static_cast<std::ptrdiff_t>(kPatches * 12);
      EXPECT_TRUE(std::equal(found.begin() + second, found.end(), expected.begin() + second)) << "the other image";
    }
  }
}

// He et al. 2022: the encoder's tokens at their places, the mask token elsewhere, positions on all of them.
TEST(MaskedImage, TheDecoderGetsEveryPatchAtItsPlace) {
  for (const Pooling pooling : {Pooling::kClassToken, Pooling::kMean}) {
    SCOPED_TRACE(pooling == Pooling::kMean ? "mean" : "class token");
    ModelSpec model = masked_image(small_config(pooling));
    while (model.blocks.back().name != "decoder.embed") model.blocks.pop_back();
    Alone alone(model, "decoder");
    const Fields fields = image_fields(alone.rank.device, small_images());
    const Rows encoded = alone.infer_rows(fields, "encoded");
    const Rows weight = alone.parameter("decoder.embed.weight"), bias = alone.parameter("decoder.embed.bias"),
               positions = alone.parameter("decoder.embed.positions");
    const std::size_t first = pooling == Pooling::kMean ? 0 : 1;
    Rows expected;
    for (std::size_t b = 0; b < kBatch; ++b) {
      for (std::size_t s = 0; s < first + kPatches; ++s) {
        Rows token = alone.parameter("decoder.embed.mask_token");
        for (std::size_t k = 0; k < first + kVisible; ++k) {
          const std::size_t place =
              k < first ? 0 : first + static_cast<std::size_t>(kVisiblePatches[b * kVisible + k - first]);
          if (place == s) token = product(weight, bias, row_of(encoded, b * (first + kVisible) + k, kWidth));
        }
        for (std::size_t i = 0; i < kDecoderWidth; ++i) expected.push_back(token[i] + positions[s * kDecoderWidth + i]);
      }
    }
    EXPECT_LT(relative_error(alone.infer(fields, "decoder"), expected), tolerance(DType::kFloat32).summed);
  }
}

// ---- Texts

constexpr std::size_t kLength = 5, kVocabulary = 11, kGuessed = 3;
const std::vector<int32_t> kTokens{2, 7, 10, 3, 0, 2, 5, 9, 8, 3};
const std::vector<int32_t> kPositions{1, 2, -1, 1, 2, 3};

// Without blocks between the embedding and the output, so that the states are known.
TextStackConfig bare_text() {
  return {.length = kLength,
          .vocabulary = kVocabulary,
          .sizes = {.width = kWidth, .layers = 0, .heads = 2, .feed_forward = 10},
          .causal = false};
}

Fields text_data(Device& device) {
  Fields fields(kBatch);
  fields.set("tokens", Tensor::from<int32_t>(device, Shape{kBatch, kLength}, kTokens));
  fields.set("lengths", Tensor::from<int32_t>(device, Shape{kBatch}, std::vector<int32_t>{4, 5}));
  fields.set("masked_positions", Tensor::from<int32_t>(device, Shape{kBatch, kGuessed}, kPositions));
  return fields;
}

Rows state_at(Alone& alone, std::size_t sample, std::size_t place) {
  const Rows tokens = alone.parameter("text.embed.tokens.weight"), positions = alone.parameter("text.embed.positions");
  Rows x = row_of(tokens, static_cast<std::size_t>(kTokens[sample * kLength + place]), kWidth);
  for (std::size_t i = 0; i < kWidth; ++i) x[i] += positions[place * kWidth + i];
  return x;
}

// Devlin et al. 2019, and the authors' get_masked_lm_output in run_pretraining.py.
TEST(MaskedText, ScoresTheChosenTokensAsBertDoes) {
  for (const bool tied : {true, false}) {
    for (const bool transform : {true, false}) {
      SCOPED_TRACE(fmt::format("tied {} transform {}", tied, transform));
      Alone alone(
          masked_text(
              {.text = bare_text(), .num_masked = kGuessed, .tied_output = tied, .transform_output = transform}),
          "logits");
      const auto of = [&](const std::string& name) { return alone.parameter("text.output." + name); };
      const Rows table = tied ? alone.parameter("text.embed.tokens.weight") : of("tokens.weight");
      const std::vector<float> logits = alone.infer(text_data(alone.rank.device), "logits");
      ASSERT_EQ(logits.size(), kBatch * kGuessed * kVocabulary);
      for (std::size_t k = 0; k < kPositions.size(); ++k) {
        if (kPositions[k] < 0) continue;
        Rows x = normalized(state_at(alone, k / kGuessed, static_cast<std::size_t>(kPositions[k])), of("norm.weight"),
                            of("norm.bias"));
        Rows bias(kVocabulary, 0);
        if (transform) {
          x = product(of("transform.weight"), of("transform.bias"), x);
          x = gelu(x);
          x = normalized(x, of("transform.norm.weight"), of("transform.norm.bias"));
          bias = of("bias");
        }
        const std::vector<float> found(logits.begin() + static_cast<std::ptrdiff_t>(k * kVocabulary),
                                       logits.begin() + static_cast<std::ptrdiff_t>((k + 1) * kVocabulary));
        EXPECT_LT(relative_error(found, product(table, bias, x)), tolerance(DType::kFloat32).summed) << k;
      }
    }
  }
}

TEST(TextPooler, IsTheFirstTokenThroughAProductAndTanh) {
  for (const bool post_norm : {false, true}) {
    SCOPED_TRACE(post_norm ? "post-norm" : "pre-norm");
    TextStackConfig text = bare_text();
    text.sizes.post_norm = post_norm;  // then there is no norm left to do
    ModelSpec model;
    append_token_embedding(model.blocks, "text", text, false);
    append_text_pooler(model.blocks, "text", text);
    Alone alone(model, "text_pooled");
    const auto of = [&](const std::string& name) { return alone.parameter("text.pooler." + name); };
    Rows expected;
    for (std::size_t b = 0; b < kBatch; ++b) {
      Rows x = state_at(alone, b, 0);
      if (!post_norm) x = normalized(x, of("norm.weight"), of("norm.bias"));
      for (const double value : product(of("weight"), of("bias"), x)) expected.push_back(std::tanh(value));
    }
    EXPECT_LT(relative_error(alone.infer(text_data(alone.rank.device), "text_pooled"), expected),
              tolerance(DType::kFloat32).summed);
  }
}

}  // namespace
}  // namespace triptych::test
