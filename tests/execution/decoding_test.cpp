#include "nn/decoding.h"

#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "evaluation/inference.h"
#include "models/captioner.h"
#include "models/coca.h"
#include "models/language.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int64_t kLength = 7, kVocabulary = 22, kSize = 6;

// One pass over all tokens and one token at a time: each is within `summed` of the exact one.
const double kBound = 2 * tolerance(DType::kFloat32).summed;

ModelSpec model_of(const std::string& family) {
  const ImageEncoderConfig image{.size = kSize,
                                 .patch = 2,
                                 .sizes = {.width = 10, .layers = 1, .heads = 2, .feed_forward = 14},
                                 .pooling = ImageEncoderConfig::Pooling::kMean};
  TextStackConfig text{.length = kLength,
                       .vocabulary = kVocabulary,
                       .sizes = {.width = 12, .layers = 2, .heads = 4, .feed_forward = 18},
                       .dropout = 0.5f};  // never while decoding
  if (family == "llama_like") {           // whose cache keeps fewer heads, turned by their positions
    text.sizes = {.width = 16,
                  .layers = 2,
                  .heads = 4,
                  .feed_forward = 18,
                  .activation = Activation::kSwiglu,
                  .norm = {.kind = NormKind::kRms},
                  .kv_heads = 2,
                  .positions = PositionKind::kRotary};
  }
  // Llama's decoder with a prefix, of other positions than its text's; GPT's with layers between its blocks.
  if (family == "prefix" || family == "gated") {
    LanguageConfig config{.text = text, .image = image, .connector = {.queries = 5, .layers = 1}};
    config.way = family == "prefix" ? PictureWay::kPrefix : PictureWay::kGatedCrossAttention;
    config.connector.kind = family == "prefix" ? ConnectorKind::kResampler : ConnectorKind::kNone;
    config.gated_every = 2;
    if (family == "prefix") {
      config.text.sizes.kv_heads = 2;
      config.text.sizes.width = 16;
      config.text.sizes.positions = PositionKind::kRotary;
    }
    return language_model(config);
  }
  if (family == "gpt_prefix") {
    return language_model(
        {.text = text, .way = PictureWay::kPrefix, .image = image, .connector = {.kind = ConnectorKind::kMlp}});
  }
  if (family != "coca") return captioner({.image = image, .text = text});
  return coca({.image = image, .text = text, .multimodal_layers = 2, .pool_queries = 3, .embedding = 5});
}

// The slot that the decoder attends to.
std::string memory_of(const std::string& family) {
  return family == "prefix" || family == "gpt_prefix" || family == "gated" ? kPictureSlot : "memory";
}

// The same values on every rank.
std::vector<int32_t> random_tokens(const std::string& name, int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(philox_word(random_key(7, name, 0), static_cast<uint64_t>(i)) % kVocabulary));
  }
  return tokens;
}

// Some texts with their pictures: row r has picture pictures[r].
struct Texts {
  std::vector<int32_t> tokens;  // [rows, kLength]
  std::vector<int32_t> pictures;

  int64_t rows() const { return static_cast<int64_t>(pictures.size()); }
  std::vector<int32_t> at(int64_t position) const {
    std::vector<int32_t> column;
    for (int64_t r = 0; r < rows(); ++r) column.push_back(tokens[static_cast<std::size_t>(r * kLength + position)]);
    return column;
  }
  Fields pixels(Device& device) const {
    std::vector<uint8_t> values;
    const int64_t bytes = kSize * kSize * 3;
    for (const int32_t picture : pictures) {
      for (int64_t i = 0; i < bytes; ++i) {
        values.push_back(
            static_cast<uint8_t>(philox_word(random_key(8, "pixels", 0), static_cast<uint64_t>(picture * bytes + i))));
      }
    }
    Fields fields(rows());
    fields.set("pixels", Tensor::from<uint8_t>(device, Shape{rows(), kSize, kSize, 3}, values));
    return fields;
  }
};

struct Case {
  std::string family;
  MeshShape mesh;
  bool sequence_parallel;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return fmt::format("{}_pp{}dp{}cp{}tp{}{}", c.family, c.mesh.pp, c.mesh.dp, c.mesh.cp, c.mesh.tp,
                     c.sequence_parallel ? "_sp" : "");
}

class CachedDecoding : public ::testing::TestWithParam<Case> {};

TEST_P(CachedDecoding, ScoresAreThoseOfAFullPassAlsoAfterRowsMoved) {
  const Case& c = GetParam();
  Texts first{random_tokens("first", 3 * kLength), {0, 1, 2}};
  // From this position on, rows go on from others: some end, some branch, and there are more.
  constexpr int64_t kMoved = 3;
  const std::vector<int32_t> parents{2, 0, 0, 2, 2};
  Texts second{random_tokens("second", 5 * kLength), parents};
  for (std::size_t r = 0; r < parents.size(); ++r) {
    for (int64_t t = 0; t < kMoved; ++t) {
      second.tokens[r * kLength + static_cast<std::size_t>(t)] =
          first.tokens[static_cast<std::size_t>(parents[r] * kLength + t)];
    }
  }
  const std::vector<ObjectiveSpec> objectives{
      cross_entropy_objective({.name = "caption", .slot = "logits", .field = "targets"})};
  run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
    RankModel rank(world, c.mesh, model_of(c.family), objectives, gpipe({c.mesh.pp, 1, 1, LossCoupling::kSplit}),
                   {.seed = 5}, c.sequence_parallel);
    // Larger than at the start of a training, so that tokens and pictures make a difference. Where the full pass sums
    // in another order, no score may be so large that its rounding is seen.
    for (Parameter* parameter : rank.store.all()) {
      float* values = parameter->value.data<float>();
      for (int64_t i = 0; i < parameter->value.num_elements(); ++i) values[i] *= c.mesh.cp > 1 ? 1.5f : 3.0f;
      if (parameter->name.ends_with(".gate")) values[0] = 0.7f;
    }
    Inference inference(rank.device, rank.mesh, rank.executor, {});
    const auto full = [&](const Texts& texts) {
      Fields fields = texts.pixels(rank.device);
      fields.set("tokens", Tensor::from<int32_t>(rank.device, Shape{texts.rows(), kLength}, texts.tokens));
      return inference.infer(fields, "logits");
    };
    const auto expect_row = [&](const std::vector<float>& scores, const std::vector<float>& all, int64_t r, int64_t t) {
      const auto one = std::span(scores).subspan(static_cast<std::size_t>(r * kVocabulary), kVocabulary);
      const auto whole = std::span(all).subspan(static_cast<std::size_t>((r * kLength + t) * kVocabulary), kVocabulary);
      EXPECT_LT(relative_error(one, whole), kBound) << "row " << r << ", position " << t;
    };
    DecodingCache cache(kLength);
    const auto next = [&](const Texts& texts, int64_t t) {
      Fields fields = t == 0 ? texts.pixels(rank.device) : Fields(texts.rows());
      fields.set("tokens", Tensor::from<int32_t>(rank.device, Shape{texts.rows(), 1}, texts.at(t)));
      const Values values = rank.executor.decode(fields, "logits", memory_of(c.family), cache);
      std::vector<float> scores = inference.to_all_hosts(values.empty() ? Variable() : value_of(values, "logits"));
      scores.resize(static_cast<std::size_t>(texts.rows() * kVocabulary));
      cache.advance();
      return scores;
    };
    const std::vector<float> before = full(first), after = full(second);
    ASSERT_EQ(before.size(), static_cast<std::size_t>(3 * kLength * kVocabulary));
    for (int64_t t = 0; t < kMoved; ++t) {
      const std::vector<float> scores = next(first, t);
      for (int64_t r = 0; r < first.rows(); ++r) expect_row(scores, before, r, t);
    }
    cache.reorder(rank.device, parents);
    for (int64_t t = kMoved; t < kLength; ++t) {
      const std::vector<float> scores = next(second, t);
      for (int64_t r = 0; r < second.rows(); ++r) expect_row(scores, after, r, t);
    }
    // The pictures and the tokens do matter here.
    EXPECT_GT(relative_error(std::span(before).subspan(0, kVocabulary), std::span(after).subspan(0, kVocabulary)),
              0.01);
  });
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* family : {"captioner", "coca", "llama_like", "prefix", "gpt_prefix", "gated"}) {
    all.push_back({family, {}, false});
    all.push_back({family, {.tp = 2}, false});
    all.push_back({family, {.tp = 2}, true});
    all.push_back({family, {.pp = 2}, false});
    all.push_back({family, {.pp = 3}, false});  // the memory passes through a stage
    all.push_back({family, {.pp = 2, .dp = 2, .tp = 2}, true});
    all.push_back({family, {.pp = 2, .tp = 2}, false});
    all.push_back({family, {.pp = 2, .cp = 2}, false});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Meshes, CachedDecoding, ::testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace triptych::test
