#include "evaluation/beam_search.h"

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Tokens = std::vector<int32_t>;
constexpr int32_t kBegin = 9, kEnd = 0;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// A language model whose next token depends on all that came before, and on the sample: tables that are filled as they
// are asked for. Its rows keep their sequences, as a decoder's cache would.
class TinyModel {
 public:
  TinyModel(int64_t num_beams, int32_t vocabulary, uint32_t seed)
      : num_beams_(num_beams), vocabulary_(vocabulary), seed_(seed) {}

  std::span<const float> operator()(std::span<const int64_t> parents, std::span<const int32_t> tokens) {
    std::vector<Tokens> moved;
    answer_.clear();
    for (std::size_t row = 0; row < tokens.size(); ++row) {
      EXPECT_EQ(parents[row] / num_beams_, static_cast<int64_t>(row) / num_beams_);
      moved.push_back(rows_.empty() ? Tokens() : rows_[static_cast<std::size_t>(parents[row])]);
      moved.back().push_back(tokens[row]);
      const std::vector<float>& next = after(static_cast<int64_t>(row) / num_beams_, moved.back());
      answer_.insert(answer_.end(), next.begin(), next.end());
    }
    rows_ = std::move(moved);
    ++num_calls;
    return answer_;
  }

  // Log-probabilities after a sequence that starts with kBegin.
  const std::vector<float>& after(int64_t sample, const Tokens& sequence) {
    std::vector<float>& next = tables_[{sample, sequence}];
    if (next.empty()) {
      std::seed_seq seeds{seed_, static_cast<uint32_t>(sample)};
      std::mt19937 random(seeds);
      for (const int32_t token : sequence) random.discard(static_cast<uint64_t>(token) * 7 + 3 + random() % 100);
      double sum = 0;
      for (int32_t v = 0; v < vocabulary_; ++v) {
        next.push_back(static_cast<float>(random() % 1000) / 250.0f - (v == kEnd ? 1.5f : 0.0f));
        sum += std::exp(static_cast<double>(next.back()));
      }
      for (float& value : next) value -= static_cast<float>(std::log(sum));
    }
    return next;
  }

  int64_t num_calls = 0;

 private:
  int64_t num_beams_;
  int32_t vocabulary_;
  uint32_t seed_;
  std::vector<Tokens> rows_;
  std::vector<float> answer_;
  std::map<std::pair<int64_t, Tokens>, std::vector<float>> tables_;
};

double normalised(double log_probability, std::size_t length, double alpha) {
  return log_probability / std::pow((5 + static_cast<double>(length)) / 6, alpha);
}

// The best complete sequence of at most `max_length` tokens, by trying all of them.
void enumerate(TinyModel& model, int64_t sample, Tokens& sequence, double log_probability,
               const BeamSearchOptions& options, int32_t vocabulary, DecodedSequence& best) {
  const std::vector<float> next = model.after(sample, sequence);
  const double ended = log_probability + static_cast<double>(next[kEnd]);
  const double score = normalised(ended, sequence.size(), options.alpha);  // kBegin stands for the end token
  if (score > best.score) best = {Tokens(sequence.begin() + 1, sequence.end()), ended, score, true};
  if (static_cast<int64_t>(sequence.size()) == options.max_length) return;
  for (int32_t token = 1; token < vocabulary; ++token) {
    sequence.push_back(token);
    enumerate(model, sample, sequence, log_probability + static_cast<double>(next[static_cast<std::size_t>(token)]),
              options, vocabulary, best);
    sequence.pop_back();
  }
}

void expect_near(double found, double expected) {
  EXPECT_LE(test::relative_error(std::vector<double>{found}, std::vector<double>{expected}),
            test::tolerance(DType::kFloat32).scalar);
}

TEST(BeamSearch, AWideBeamFindsTheBestOfAllSequences) {
  int num_longer = 0;
  for (const double alpha : {0.0, 0.6, 1.0}) {
    for (uint32_t seed = 0; seed < 12; ++seed) {
      const int32_t vocabulary = 4;
      const BeamSearchOptions options{500, 5, kBegin, kEnd, alpha};  // all 364 sequences have a place
      TinyModel model(options.num_beams, vocabulary, seed);
      const auto found = beam_search(std::ref(model), 3, options);
      ASSERT_EQ(found.size(), 3u);
      for (int64_t sample = 0; sample < 3; ++sample) {
        DecodedSequence best{.score = -std::numeric_limits<double>::infinity()};
        Tokens sequence{kBegin};
        enumerate(model, sample, sequence, 0, options, vocabulary, best);
        const DecodedSequence& each = found[static_cast<std::size_t>(sample)];
        EXPECT_EQ(each.tokens, best.tokens) << "alpha " << alpha << ", seed " << seed << ", sample " << sample;
        EXPECT_TRUE(each.is_finished);
        expect_near(each.log_probability, best.log_probability);
        expect_near(each.score, best.score);
        num_longer += each.tokens.size() > 1;
      }
    }
  }
  EXPECT_GT(num_longer, 20);  // not all of them are the trivial ones
}

// A sequence that goes on from given tokens is that of a search that begins behind them.
TEST(BeamSearch, GivenTokensCountForNothing) {
  const int32_t vocabulary = 4;
  for (const int64_t beams : {1, 3, 500}) {
    for (uint32_t seed = 0; seed < 8; ++seed) {
      const std::vector<Tokens> given{{}, {2, 1}, {3}};
      const std::vector<int64_t> num_given{0, 2, 1};
      TinyModel model(beams, vocabulary, seed);
      std::size_t position = 0;
      std::vector<float> forced;
      const auto step = [&](std::span<const int64_t> parents, std::span<const int32_t> tokens) {
        const std::span<const float> free = model(parents, tokens);
        forced.assign(free.begin(), free.end());
        for (std::size_t row = 0; row < tokens.size(); ++row) {
          const Tokens& of_row = given[row / static_cast<std::size_t>(beams)];
          if (position >= of_row.size()) continue;
          const auto begin = forced.begin() + static_cast<std::ptrdiff_t>(row) * vocabulary;
          std::fill(begin, begin + vocabulary, kNever);
          begin[of_row[position]] = 0;
        }
        ++position;
        return std::span<const float>(forced);
      };
      const auto found = beam_search(step, 3, {beams, 5, kBegin, kEnd, 0.6}, num_given);
      for (std::size_t s = 0; s < 3; ++s) {
        TinyModel alone(beams, vocabulary, seed);
        // Sample s behind its tokens: the tables of what follows them.
        std::vector<Tokens> rows(static_cast<std::size_t>(beams), Tokens{kBegin});
        for (Tokens& row : rows) row.insert(row.end(), given[s].begin(), given[s].end());
        bool is_first = true;
        std::vector<float> answer;
        const auto behind = [&](std::span<const int64_t> parents, std::span<const int32_t> tokens) {
          std::vector<Tokens> moved;
          answer.clear();
          for (std::size_t row = 0; row < tokens.size(); ++row) {
            moved.push_back(rows[static_cast<std::size_t>(parents[row])]);
            if (!is_first) moved.back().push_back(tokens[row]);
            const std::vector<float>& next = alone.after(static_cast<int64_t>(s), moved.back());
            answer.insert(answer.end(), next.begin(), next.end());
          }
          rows = std::move(moved);
          is_first = false;
          return std::span<const float>(answer);
        };
        const auto expected = beam_search(behind, 1, {beams, 5 - num_given[s], kBegin, kEnd, 0.6});
        EXPECT_EQ(found[s].tokens, expected[0].tokens) << beams << " beams, seed " << seed << ", sample " << s;
        EXPECT_EQ(found[s].is_finished, expected[0].is_finished);
        expect_near(found[s].log_probability, expected[0].log_probability);
        expect_near(found[s].score, expected[0].score);
      }
    }
  }
}

TEST(BeamSearch, OneBeamIsGreedy) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const BeamSearchOptions options{1, 6, kBegin, kEnd, 0.6};
    TinyModel model(1, 5, seed);
    const auto found = beam_search(std::ref(model), 2, options);
    for (int64_t sample = 0; sample < 2; ++sample) {
      Tokens sequence{kBegin};
      double log_probability = 0;
      bool ended = false;
      while (!ended && static_cast<int64_t>(sequence.size()) <= options.max_length) {
        const std::vector<float>& next = model.after(sample, sequence);
        const auto best = std::max_element(next.begin(), next.end());
        log_probability += static_cast<double>(*best);
        ended = best - next.begin() == kEnd;
        if (!ended) sequence.push_back(static_cast<int32_t>(best - next.begin()));
      }
      const DecodedSequence& each = found[static_cast<std::size_t>(sample)];
      EXPECT_EQ(each.tokens, Tokens(sequence.begin() + 1, sequence.end())) << seed;
      EXPECT_EQ(each.is_finished, ended);
      expect_near(each.log_probability, log_probability);
    }
  }
}

// The textbook's trap: the likelier first word leads to the less likely sentence.
TEST(BeamSearch, TwoBeamsSeePastAGreedyFirstChoice) {
  const auto step_of = [](int64_t num_beams) {
    return
        [num_beams, answer = std::vector<float>()](std::span<const int64_t>, std::span<const int32_t> tokens) mutable {
          answer.clear();
          for (std::size_t row = 0; row < tokens.size(); ++row) {
            // end, 1, 2
            if (tokens[row] == kBegin) answer.insert(answer.end(), {kNever, std::log(0.6f), std::log(0.4f)});
            if (tokens[row] == 1) answer.insert(answer.end(), {std::log(0.4f), std::log(0.3f), std::log(0.3f)});
            if (tokens[row] == 2 || tokens[row] == kEnd)
              answer.insert(answer.end(), {std::log(0.9f), std::log(0.1f), kNever});
          }
          EXPECT_EQ(static_cast<int64_t>(tokens.size()), num_beams);
          return std::span<const float>(answer);
        };
  };
  const auto greedy = beam_search(step_of(1), 1, {1, 4, kBegin, kEnd, 0.0});
  EXPECT_EQ(greedy[0].tokens, Tokens{1});
  const auto wide = beam_search(step_of(2), 1, {2, 4, kBegin, kEnd, 0.0});
  EXPECT_EQ(wide[0].tokens, Tokens{2});
  expect_near(wide[0].log_probability, std::log(0.36));
}

TEST(BeamSearch, EqualValuesGoToTheLowerBeamAndToken) {
  const auto uniform = [](int64_t rows) {
    return [answer = std::vector<float>(static_cast<std::size_t>(rows * 4), std::log(0.25f))](
               std::span<const int64_t>, std::span<const int32_t>) { return std::span<const float>(answer); };
  };
  // The end token is 3: the lower tokens 0, 1, 2 fill the beam, and only cut sequences are left.
  const auto cut = beam_search(uniform(3), 1, {3, 2, kBegin, 3, 0.6});
  EXPECT_EQ(cut[0].tokens, (Tokens{0, 0}));
  EXPECT_FALSE(cut[0].is_finished);
  // With a place for it, the empty sequence is complete first, and nothing longer can be as good without normalisation.
  const auto ended = beam_search(uniform(4), 1, {4, 2, kBegin, 3, 0.0});
  EXPECT_TRUE(ended[0].tokens.empty());
  EXPECT_TRUE(ended[0].is_finished);
}

// A sequence that is less likely when the other one ends, and longer at the same probability: its score rises as it
// grows, from -1.05 to -1.05 / (15 / 6).
TEST(BeamSearch, WaitsForALongOneThatMayBeBetter) {
  int64_t num_calls = 0;
  std::vector<float> answer;
  const auto found = beam_search(
      [&](std::span<const int64_t>, std::span<const int32_t>) {
        if (num_calls == 0) answer = {-1.0f, -1.05f, -1.0f, -1.05f};
        if (num_calls == 1) answer = {kNever, 0, kNever, 0};
        if (num_calls == 9) answer = {0, kNever, 0, kNever};
        ++num_calls;
        return std::span<const float>(answer);
      },
      1, {2, 30, kBegin, kEnd, 1.0});
  EXPECT_EQ(found[0].tokens, Tokens(9, 1));
  EXPECT_EQ(num_calls, 10);
  expect_near(found[0].score, static_cast<double>(-1.05f) / (15.0 / 6));
}

TEST(BeamSearch, StopsWhenNothingCanBeBetter) {
  int64_t num_calls = 0;
  const std::vector<float> answer{std::log(0.9f), std::log(0.1f)};
  const auto found = beam_search(
      [&](std::span<const int64_t>, std::span<const int32_t>) {
        ++num_calls;
        return std::span<const float>(answer);
      },
      1, {1, 100, kBegin, kEnd, 0.6});
  EXPECT_EQ(num_calls, 1);
  EXPECT_TRUE(found[0].tokens.empty());

  TinyModel model(4, 4, 1);
  beam_search(std::ref(model), 1, {4, 100, kBegin, kEnd, 0.0});
  EXPECT_LT(model.num_calls, 20);
}

TEST(BeamSearch, WhereNothingMayFollowASequenceIsCut) {
  const std::vector<float> first{kNever, 0, kNever}, nothing{kNever, kNever, kNever};
  int64_t num_calls = 0;
  const auto found =
      beam_search([&](std::span<const int64_t>,
                      std::span<const int32_t>) { return std::span<const float>(num_calls++ == 0 ? first : nothing); },
                  1, {1, 9, kBegin, kEnd, 0.6});
  EXPECT_EQ(found[0].tokens, Tokens{1});
  EXPECT_FALSE(found[0].is_finished);
  EXPECT_EQ(num_calls, 2);
}

TEST(BeamSearch, RefusesWhatIsNoLanguageModel) {
  const auto search = [](std::vector<float> answer, const BeamSearchOptions& options) {
    return beam_search(
        [&](std::span<const int64_t>, std::span<const int32_t>) { return std::span<const float>(answer); }, 1, options);
  };
  EXPECT_THROW(search({-1, std::nanf("")}, {1, 3, kBegin, kEnd}), InternalError);
  EXPECT_THROW(search({-1, 2}, {1, 3, kBegin, kEnd}), InternalError);
  EXPECT_THROW(search({-1, -1, -1}, {2, 3, kBegin, kEnd}), InternalError);
  EXPECT_THROW(search({-1, -1}, {1, 3, kBegin, 2}), InternalError);
  EXPECT_THROW(search({-1, -1}, {1, 0, kBegin, kEnd}), InternalError);
  EXPECT_THROW(search({-1, -1}, {0, 3, kBegin, kEnd}), InternalError);
  EXPECT_TRUE(beam_search({}, 0, {1, 3, kBegin, kEnd}).empty());
}

}  // namespace
}  // namespace triptych::test
