#include "models/language.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model_alone.h"
#include "ops/cross_entropy.h"

namespace triptych::test {
namespace {

constexpr int64_t kRows = 3, kLength = 5, kVocabulary = 11, kSize = 4;

LanguageConfig config_of(PictureWay way, ConnectorKind connector) {
  LanguageConfig config{.text = {.length = kLength,
                                 .vocabulary = kVocabulary,
                                 .sizes = {.width = 8, .layers = 3, .heads = 2, .feed_forward = 10}},
                        .tied_output = false,
                        .way = way,
                        .image = {.size = kSize,
                                  .patch = 2,
                                  .sizes = {.width = 6, .layers = 1, .heads = 2, .feed_forward = 8},
                                  .pooling = ImageEncoderConfig::Pooling::kMean},
                        .connector = {.kind = connector, .queries = 3, .layers = 1},
                        .gated_every = 2};
  return config;
}

ObjectiveSpec next_tokens() {
  return cross_entropy_objective({.name = "language", .slot = "logits", .field = "targets"});
}

// The model on one rank, with its initial values, or with random ones.
struct AloneLanguage : Alone {
  explicit AloneLanguage(const LanguageConfig& config, bool is_random = false)
      : Alone(language_model(config), next_tokens()) {
    if (is_random) randomize(0.5);
  }
};

std::vector<int32_t> some_tokens() {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < kRows * kLength; ++i) tokens.push_back(i * 7 % kVocabulary);
  return tokens;
}

Fields fields_of(Device& device, int picture = 73) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < kRows * kSize * kSize * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * picture % 256));
  Fields fields(kRows);
  fields.set("pixels", Tensor::from<uint8_t>(device, Shape{kRows, kSize, kSize, 3}, pixels));
  fields.set("tokens", Tensor::from<int32_t>(device, Shape{kRows, kLength}, some_tokens()));
  return fields;
}

std::map<std::string, std::string> text_parameters(const LanguageConfig& config) {
  AloneLanguage alone(config);
  std::map<std::string, std::string> shapes;
  for (const Parameter* p : alone.rank.store.named("text.")) shapes[p->name] = p->global_shape.to_string();
  return shapes;
}

// What --init-from takes of a language model's checkpoint, and what freezing "text.*" freezes.
TEST(LanguageModel, HasTheSameTextParametersWhateverPicturesComeIn) {
  for (const bool tied : {false, true}) {
    LanguageConfig config = config_of(PictureWay::kNone, ConnectorKind::kNone);
    config.tied_output = tied;
    const auto plain = text_parameters(config);
    EXPECT_EQ(plain.contains("text.output.tokens.weight"), !tied);
    EXPECT_EQ(AloneLanguage(config).rank.store.all().size(), plain.size()) << "it has no others";
    for (const ConnectorKind kind : {ConnectorKind::kLinear, ConnectorKind::kMlp, ConnectorKind::kResampler}) {
      config.connector.kind = kind;
      for (const PictureWay way : {PictureWay::kPrefix, PictureWay::kGatedCrossAttention}) {
        config.way = way;
        EXPECT_EQ(text_parameters(config), plain);
      }
    }
  }
}

// Alayrac et al. 2022, section 2.2: "at initialisation, the model output matches that of the pretrained language
// model".
TEST(LanguageModel, WithGatedLayersIsAtFirstTheLanguageModelBitByBit) {
  AloneLanguage plain(config_of(PictureWay::kNone, ConnectorKind::kNone));
  const std::vector<float> expected = plain.infer(fields_of(plain.rank.device), "logits");
  for (const ConnectorKind kind : {ConnectorKind::kNone, ConnectorKind::kResampler}) {
    AloneLanguage gated(config_of(PictureWay::kGatedCrossAttention, kind));
    EXPECT_EQ(gated.infer(fields_of(gated.rank.device), "logits"), expected);
    // In front of blocks 0 and 2 of three.
    EXPECT_EQ(gated.rank.store.named("gated.blocks.").size(), 2 * gated.rank.store.named("gated.blocks.1.").size());
    gated.write("gated.blocks.1.cross_attention.gate", {0.5f});
    EXPECT_NE(gated.infer(fields_of(gated.rank.device), "logits"), expected) << "an open gate shows the picture";
  }
  AloneLanguage prefixed(config_of(PictureWay::kPrefix, ConnectorKind::kMlp));
  EXPECT_NE(prefixed.infer(fields_of(prefixed.rank.device), "logits"), expected);
}

TEST(LanguageModel, SeesThePictureAtEveryToken) {
  for (const auto& [way, kind] : {std::pair(PictureWay::kPrefix, ConnectorKind::kLinear),
                                  std::pair(PictureWay::kPrefix, ConnectorKind::kResampler),
                                  std::pair(PictureWay::kGatedCrossAttention, ConnectorKind::kNone)}) {
    AloneLanguage alone(config_of(way, kind), true);
    const std::vector<float> one = alone.infer(fields_of(alone.rank.device, 73), "logits"),
                             other = alone.infer(fields_of(alone.rank.device, 57), "logits");
    ASSERT_EQ(one.size(), static_cast<std::size_t>(kRows * kLength * kVocabulary));
    for (std::size_t token = 0; token < kRows * kLength; ++token) {
      const auto begin = static_cast<std::ptrdiff_t>(token * kVocabulary);
      EXPECT_FALSE(std::equal(one.begin() + begin, one.begin() + begin + kVocabulary, other.begin() + begin));
    }
  }
}

// A prefix is as tokens whose embeddings it is: a longer text, with the picture's tokens as pieces of its own in front,
// has the same scores.
TEST(LanguageModel, APrefixIsAsTokensInFront) {
  for (const PositionKind positions : {PositionKind::kNone, PositionKind::kRotary}) {
    for (const ConnectorKind kind : {ConnectorKind::kLinear, ConnectorKind::kMlp, ConnectorKind::kResampler}) {
      LanguageConfig config = config_of(PictureWay::kPrefix, kind);
      config.text.sizes.positions = positions;
      AloneLanguage alone(config, true);
      const Fields fields = fields_of(alone.rank.device);
      const std::vector<float> found = alone.infer(fields, "logits"), prefix = alone.infer(fields, kPictureSlot);
      const int64_t count = kind == ConnectorKind::kResampler ? 3 : 4, width = config.text.sizes.width;
      ASSERT_EQ(static_cast<int64_t>(prefix.size()), kRows * count * width);

      LanguageConfig longer = config;
      longer.way = PictureWay::kNone;
      longer.text.length += count;
      longer.text.vocabulary += kRows * count;
      AloneLanguage plain(longer, true);
      const auto extend = [&](const char* name) {
        std::vector<float> table = alone.find(name).value.to_vector<float>();
        table.insert(table.end(), prefix.begin(), prefix.end());
        plain.write(name, table);
      };
      extend("text.embed.tokens.weight");
      extend("text.output.tokens.weight");
      std::vector<int32_t> tokens;
      const std::vector<int32_t> text = some_tokens();
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(kVocabulary + row * count + i));
        tokens.insert(tokens.end(), text.begin() + row * kLength, text.begin() + (row + 1) * kLength);
      }
      Fields whole(kRows);
      whole.set("tokens", Tensor::from<int32_t>(plain.rank.device, Shape{kRows, kLength + count}, tokens));
      const std::vector<float> all = plain.infer(whole, "logits");
      std::vector<float> expected;
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t t = 0; t < kLength; ++t) {
          const auto begin = all.begin() + ((row * (kLength + count)) + count + t) * longer.text.vocabulary;
          expected.insert(expected.end(), begin, begin + kVocabulary);
        }
      }
      EXPECT_LT(relative_error(found, expected), tolerance(DType::kFloat32).summed) << connector_name(kind);
    }
  }
}

// The scores of the targets, as log-probabilities, sum to the loss.
TEST(LanguageModel, TargetScoresAreOfTheLoss) {
  AloneLanguage alone(config_of(PictureWay::kNone, ConnectorKind::kNone), true);
  Fields fields = fields_of(alone.rank.device);
  std::vector<int32_t> targets = some_tokens();
  std::rotate(targets.begin(), targets.begin() + 1, targets.end());
  targets[3] = targets[8] = -1;
  fields.set("targets", Tensor::from<int32_t>(alone.rank.device, Shape{kRows, kLength}, targets));
  const std::vector<float> scores = alone.infer(fields, kTargetScores);
  double sum = 0;
  int count = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    sum -= target_log_probability(std::span(scores).subspan(3 * i, 3));
    ++count;
  }
  const double loss = step_values_of(alone.rank, alone.rank.executor.run_step(std::vector<Fields>{fields}, 1))[0];
  EXPECT_NEAR(sum / count, loss, tolerance(DType::kFloat32).summed * loss);
}

// What only measuring runs is no stage of its own.
TEST(LanguageModel, NoStageIsIdle) {
  const ModelSpec model = language_model(config_of(PictureWay::kNone, ConnectorKind::kNone));
  EXPECT_EQ(model.blocks.back().name, "text.scores");
  for (const int pp : {2, 3, 5}) {
    run_ranks(pp, [&](Group& world) {
      RankModel rank(world, {.pp = pp}, model, {next_tokens()}, gpipe({pp, 1, 1, LossCoupling::kSplit}), {.seed = 5});
      EXPECT_FALSE(rank.store.all().empty()) << "rank " << world.rank() << " of " << pp;
    });
  }
}

}  // namespace
}  // namespace triptych::test
