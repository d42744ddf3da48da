#include "evaluation/decoding.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "models/captioner.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int64_t kLength = 5, kVocabulary = 8, kSize = 4, kPictures = 5;
constexpr int32_t kPadding = 0, kBegin = 1, kEnd = 2, kFirstLetter = 3;
constexpr int64_t kLetters = 4;  // 3 to 6; row 7 fills up the vocabulary
constexpr double kAlpha = 0.6;

DecodingOptions options_of(int64_t num_beams) {
  return {.length = kLength,
          .num_tokens = kFirstLetter + kLetters,
          .never = {kPadding, kBegin},
          .num_beams = num_beams,
          .alpha = kAlpha};
}

ModelSpec small_captioner() {
  return captioner({.image = {.size = kSize,
                              .patch = 2,
                              .sizes = {.width = 6, .layers = 1, .heads = 2, .feed_forward = 10},
                              .pooling = ImageEncoderConfig::Pooling::kMean},
                    .text = {.length = kLength,
                             .vocabulary = kVocabulary,
                             .sizes = {.width = 10, .layers = 2, .heads = 2, .feed_forward = 14}}});
}

// Log-probabilities of the next token after every text of letters, by full forward passes over all of them.
class AllTexts {
 public:
  AllTexts(Inference& inference, const std::vector<uint8_t>& picture) {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> pixels;
    const auto count = static_cast<int64_t>(std::pow(kLetters, kLength - 1));
    for (int64_t text = 0; text < count; ++text) {
      tokens.push_back(kBegin);
      for (int64_t t = 0, rest = text; t + 1 < kLength; ++t, rest /= kLetters) {
        tokens.push_back(static_cast<int32_t>(kFirstLetter + rest % kLetters));
      }
      pixels.insert(pixels.end(), picture.begin(), picture.end());
    }
    Fields fields(count);
    fields.set("tokens", Tensor::from<int32_t>(inference.device(), Shape{count, kLength}, tokens));
    fields.set("pixels", Tensor::from<uint8_t>(inference.device(), Shape{count, kSize, kSize, 3}, pixels));
    logits_ = inference.infer(fields, "logits");
  }

  // Of `token` after the begin token and `text`.
  double log_probability(const Tokens& text, int32_t token) const {
    int64_t row = 0;
    for (std::size_t i = text.size(); i-- > 0;) row = row * kLetters + text[i] - kFirstLetter;
    const auto at = [&](int32_t any) {
      return static_cast<double>(
          logits_[static_cast<std::size_t>((row * kLength + static_cast<int64_t>(text.size())) * kVocabulary + any)]);
    };
    double sum = 0;
    for (const int32_t any : allowed()) sum += std::exp(at(any));
    return at(token) - std::log(sum);
  }

  static const Tokens& allowed() {
    static const Tokens tokens{kEnd, 3, 4, 5, 6};
    return tokens;
  }

 private:
  std::vector<float> logits_;
};

double score_of(double log_probability, std::size_t num_tokens) {
  return log_probability / std::pow((5 + static_cast<double>(num_tokens)) / 6, kAlpha);
}

// Of all texts that end within `max_tokens`, the one with the best score.
DecodedSequence best_of_all(const AllTexts& texts, std::size_t max_tokens) {
  DecodedSequence best{.score = -1e30};
  const std::function<void(const Tokens&, double)> visit = [&](const Tokens& text, double log_probability) {
    const double ended = log_probability + texts.log_probability(text, kEnd);
    const double score = score_of(ended, text.size() + 1);
    if (score > best.score) best = {text, ended, score, true};
    if (text.size() + 1 == max_tokens) return;
    for (const int32_t token : AllTexts::allowed()) {
      if (token == kEnd) continue;
      Tokens longer = text;
      longer.push_back(token);
      visit(longer, log_probability + texts.log_probability(text, token));
    }
  };
  visit({}, 0);
  return best;
}

// Beam search as its definition says, without its shortcuts: `prompt` is given, `max_tokens` come after it.
DecodedSequence beam_search_of(const AllTexts& texts, const Tokens& prompt, std::size_t width, std::size_t max_tokens) {
  std::vector<DecodedSequence> live{{}}, complete;
  for (std::size_t n = 1; n <= max_tokens; ++n) {
    std::vector<std::pair<double, Tokens>> continuations;
    for (const DecodedSequence& beam : live) {
      Tokens text = prompt;
      text.insert(text.end(), beam.tokens.begin(), beam.tokens.end());
      for (const int32_t token : AllTexts::allowed()) {
        Tokens longer = beam.tokens;
        longer.push_back(token);
        continuations.emplace_back(beam.log_probability + texts.log_probability(text, token), longer);
      }
    }
    std::sort(continuations.rbegin(), continuations.rend());
    continuations.resize(std::min(continuations.size(), width));
    live.clear();
    for (auto& [log_probability, tokens] : continuations) {
      const bool ends = tokens.back() == kEnd;
      if (ends) tokens.pop_back();
      (ends ? complete : live).push_back({tokens, log_probability, score_of(log_probability, n), ends});
      if (ends) --width;
    }
  }
  const std::vector<DecodedSequence>& results = complete.empty() ? live : complete;
  return *std::max_element(results.begin(), results.end(),
                           [](const auto& a, const auto& b) { return a.score < b.score; });
}

void expect_same(const std::vector<DecodedSequence>& found, const std::vector<DecodedSequence>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE("picture " + std::to_string(i));
    EXPECT_EQ(found[i].tokens, expected[i].tokens);
    EXPECT_EQ(found[i].is_finished, expected[i].is_finished);
    const double bound = 2 * tolerance(DType::kFloat32).summed;
    EXPECT_NEAR(found[i].log_probability, expected[i].log_probability, bound * -expected[i].log_probability);
    EXPECT_NEAR(found[i].score, expected[i].score, bound * -expected[i].score);
  }
}

class Decode : public ::testing::TestWithParam<MeshShape> {};

TEST_P(Decode, TextsAreThoseThatFullForwardPassesFind) {
  const MeshShape& shape = GetParam();
  std::vector<std::vector<uint8_t>> pictures;
  std::vector<uint8_t> pixels;
  for (uint64_t picture = 0; picture < kPictures; ++picture) {
    std::vector<uint8_t>& values = pictures.emplace_back();
    for (uint64_t i = 0; i < kSize * kSize * 3; ++i) {
      values.push_back(static_cast<uint8_t>(philox_word(random_key(3, "picture", picture), i)));
    }
    pixels.insert(pixels.end(), values.begin(), values.end());
  }
  const std::vector<ObjectiveSpec> objectives{
      cross_entropy_objective({.name = "caption", .slot = "logits", .field = "targets"})};
  const auto grow = [](ParameterStore& store) {  // so that tokens and pictures make a difference
    for (Parameter* parameter : store.all()) {
      float* values = parameter->value.data<float>();
      for (int64_t i = 0; i < parameter->value.num_elements(); ++i) values[i] *= parameter->decay ? 6.0f : 1.0f;
    }
  };
  run_ranks(shape.pp * shape.dp * shape.cp * shape.tp, [&](Group& world) {
    const std::unique_ptr<Group> self = make_self_group("reference");
    RankModel reference(*self, {}, small_captioner(), objectives, gpipe({1, 1, 1, LossCoupling::kSplit}), {.seed = 2});
    RankModel rank(world, shape, small_captioner(), objectives, gpipe({shape.pp, 1, 1, LossCoupling::kSplit}),
                   {.seed = 2});
    grow(reference.store);
    grow(rank.store);
    Inference alone(reference.device, reference.mesh, reference.executor, {});
    Inference inference(rank.device, rank.mesh, rank.executor, {});
    std::vector<AllTexts> texts;
    for (const std::vector<uint8_t>& picture : pictures) texts.emplace_back(alone, picture);
    Fields fields(kPictures);
    fields.set("pixels", Tensor::from<uint8_t>(rank.device, Shape{kPictures, kSize, kSize, 3}, pixels));
    const auto all = [&](const auto& search) {
      std::vector<DecodedSequence> results;
      for (const AllTexts& of_picture : texts) results.push_back(search(of_picture));
      return results;
    };

    std::set<Tokens> different;
    for (const std::size_t beams : {1, 3}) {
      SCOPED_TRACE(beams);
      const auto found = decode(inference, fields, Tokens{kBegin}, kEnd, options_of(static_cast<int64_t>(beams)));
      expect_same(found, all([&](const AllTexts& t) { return beam_search_of(t, {}, beams, kLength - 1); }));
      for (const DecodedSequence& text : found) different.insert(text.tokens);
      const auto prompted = decode(inference, fields, Tokens{kBegin, 5}, kEnd, options_of(static_cast<int64_t>(beams)));
      expect_same(prompted, all([&](const AllTexts& t) { return beam_search_of(t, {5}, beams, kLength - 2); }));
    }
    EXPECT_GE(different.size(), 3u) << "a test that any picture's text would pass";

    // Each picture's text goes on from a prompt of its own.
    const std::vector<Tokens> prompts{{kBegin}, {kBegin, 5}, {kBegin, 3, 4}, {kBegin, 6}, {kBegin}};
    for (const std::size_t beams : {1, 3}) {
      std::vector<DecodedSequence> expected;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const Tokens given(prompts[i].begin() + 1, prompts[i].end());
        expected.push_back(beam_search_of(texts[i], given, beams, kLength - prompts[i].size()));
      }
      expect_same(decode(inference, fields, prompts, kEnd, options_of(static_cast<int64_t>(beams))), expected);
    }

    // Drawn token by token, from the scores of full passes.
    DecodingOptions drawn = options_of(1);
    drawn.nucleus = NucleusOptions{.top_p = 0.8, .temperature = 1.5};
    drawn.seed = 11;
    drawn.first_item = 20;
    std::vector<DecodedSequence> expected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      DecodedSequence& text = expected.emplace_back();
      const Tokens given(prompts[i].begin() + 1, prompts[i].end());
      for (std::size_t t = given.size(); t + 1 < kLength && !text.is_finished; ++t) {
        Tokens before = given;
        before.insert(before.end(), text.tokens.begin(), text.tokens.end());
        std::vector<float> scores(kVocabulary, -std::numeric_limits<float>::infinity());
        for (const int32_t any : AllTexts::allowed()) {
          scores[static_cast<std::size_t>(any)] = static_cast<float>(texts[i].log_probability(before, any));
        }
        const double uniform =
            static_cast<double>(philox_word(random_key(11, "decoding/nucleus", 20 + i), t - given.size())) * 0x1.0p-32;
        const int32_t token = sample_nucleus(scores, *drawn.nucleus, uniform);
        text.score = text.log_probability += static_cast<double>(scores[static_cast<std::size_t>(token)]);
        text.is_finished = token == kEnd;
        if (!text.is_finished) text.tokens.push_back(token);
      }
    }
    expect_same(decode(inference, fields, prompts, kEnd, drawn), expected);

    // More beams than there are texts.
    expect_same(decode(inference, fields, Tokens{kBegin}, kEnd, options_of(400)),
                all([](const AllTexts& t) { return best_of_all(t, kLength - 1); }));
  });
}

INSTANTIATE_TEST_SUITE_P(Meshes, Decode,
                         ::testing::Values(MeshShape{}, MeshShape{.tp = 2}, MeshShape{.pp = 2, .dp = 2},
                                           MeshShape{.dp = 2, .cp = 2}),
                         [](const auto& mesh) {
                           return fmt::format("pp{}dp{}cp{}tp{}", mesh.param.pp, mesh.param.dp, mesh.param.cp,
                                              mesh.param.tp);
                         });

}  // namespace
}  // namespace triptych::test
