#include "evaluation/nucleus_sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "support/sanitizer.h"

namespace triptych::test {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
const std::vector<double> kProbabilities{0.05, 0.4, 0.1, 0.0, 0.25, 0.2};

std::vector<float> logs_of(const std::vector<double>& probabilities) {
  std::vector<float> logs;
  for (const double p : probabilities) logs.push_back(p > 0 ? static_cast<float>(std::log(p)) : kNever);
  return logs;
}

// Holtzman et al. 2020, section 3.1, by trying all sets: the smallest whose probability is p or more, and of these the
// most probable; within it each token in proportion.
std::vector<double> nucleus_of(const std::vector<double>& probabilities, double p) {
  const std::size_t count = probabilities.size();
  std::vector<double> best;
  std::size_t best_size = count + 1;
  double best_sum = 0;
  for (std::size_t set = 1; set < (std::size_t{1} << count); ++set) {
    double sum = 0;
    std::size_t size = 0;
    for (std::size_t v = 0; v < count; ++v) {
      if ((set >> v & 1) == 0) continue;
      sum += probabilities[v];
      ++size;
    }
    if (sum < p - 1e-9 || size > best_size || (size == best_size && sum <= best_sum)) continue;
    best_size = size;
    best_sum = sum;
    best.assign(count, 0);
    for (std::size_t v = 0; v < count; ++v) best[v] = (set >> v & 1) != 0 ? probabilities[v] / sum : 0;
  }
  return best;
}

std::vector<double> tempered(const std::vector<double>& probabilities, double temperature) {
  std::vector<double> result;
  double sum = 0;
  for (const double p : probabilities) {
    result.push_back(std::pow(p, 1 / temperature));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

// Pearson's statistic against quantiles of the chi-square distribution at 0.999, by degrees of freedom (Abramowitz and
// Stegun 1964, table 26.8).
TEST(NucleusSampling, DrawsAsTheDefinitionSays) {
  const std::map<std::size_t, double> quantiles{{0, 0}, {1, 10.828}, {2, 13.816}, {3, 16.266}, {4, 18.467}};
  constexpr int kDraws = kIsSanitized ? 4000 : 40000;
  const RandomKey key = random_key(4, "test", 0);
  uint64_t next = 0;
  for (const double temperature : {1.0, 0.5, 2.0}) {
    for (const double p : {0.3, 0.5, 0.7, 0.9, 1.0}) {
      SCOPED_TRACE(testing::Message() << "temperature " << temperature << ", p " << p);
      const std::vector<double> expected = nucleus_of(tempered(kProbabilities, temperature), p);
      std::vector<int> counts(expected.size());
      for (int n = 0; n < kDraws; ++n) {
        const double uniform = static_cast<double>(philox_word(key, next++)) * 0x1.0p-32;
        ++counts[static_cast<std::size_t>(
            sample_nucleus(logs_of(kProbabilities), {.top_p = p, .temperature = temperature}, uniform))];
      }
      double statistic = 0;
      std::size_t size = 0;
      for (std::size_t v = 0; v < expected.size(); ++v) {
        if (expected[v] == 0) {
          EXPECT_EQ(counts[v], 0) << "token " << v << " is outside";
          continue;
        }
        ++size;
        const double mean = expected[v] * kDraws;
        statistic += std::pow(counts[v] - mean, 2) / mean;
      }
      EXPECT_LE(statistic, quantiles.at(size - 1));
    }
  }
}

TEST(NucleusSampling, UniformNumbersGoThroughTheTokensInTheirOrder) {
  const std::vector<float> logs = logs_of(kProbabilities);
  const auto draw = [&](double uniform, double p) { return sample_nucleus(logs, {.top_p = p}, uniform); };
  EXPECT_EQ(draw(0, 1), 1);
  EXPECT_EQ(draw(0.39, 1), 1);
  EXPECT_EQ(draw(0.41, 1), 4);
  EXPECT_EQ(draw(0.64, 1), 4);
  EXPECT_EQ(draw(0.66, 1), 5);
  EXPECT_EQ(draw(0.94, 1), 2);
  EXPECT_EQ(draw(0.999999, 1), 0);
  EXPECT_EQ(draw(0.999999, 0.01), 1) << "the most probable token alone";
  // Of equal ones the lower first, and what does not sum to 1 is taken in proportion.
  const std::vector<float> equal{-5, -5, -5, -5};
  EXPECT_EQ(sample_nucleus(equal, {.top_p = 0.5}, 0.99), 1);
  EXPECT_THROW(sample_nucleus(std::vector<float>{kNever, kNever}, {}, 0.5), InternalError);
  EXPECT_THROW(sample_nucleus(equal, {.top_p = 0}, 0.5), InternalError);
  EXPECT_THROW(sample_nucleus(equal, {.temperature = 0}, 0.5), InternalError);
}

// Token 0 ends; what came before makes no difference but for the first tokens, which are given.
struct FixedModel {
  std::vector<std::vector<int32_t>> given;  // by sample, behind the begin token
  std::size_t position = 0;
  std::vector<float> answer = {};

  std::span<const float> operator()(std::span<const int64_t> parents, std::span<const int32_t> tokens) {
    EXPECT_TRUE(std::is_sorted(parents.begin(), parents.end()));
    answer.clear();
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      if (position > 0 && position <= given[s].size()) {
        EXPECT_EQ(tokens[s], given[s][position - 1]);
      }
      std::vector<float> row = logs_of({0.2, 0.3, 0.1, 0.4});
      if (position < given[s].size()) {
        row.assign(4, kNever);
        row[static_cast<std::size_t>(given[s][position])] = 0;
      }
      answer.insert(answer.end(), row.begin(), row.end());
    }
    ++position;
    return answer;
  }
};

std::vector<DecodedSequence> draw_all(int64_t first, int64_t count, uint64_t seed,
                                      std::vector<std::vector<int32_t>> given = {}) {
  given.resize(static_cast<std::size_t>(count));
  std::vector<int64_t> num_given;
  for (const std::vector<int32_t>& tokens : given) num_given.push_back(static_cast<int64_t>(tokens.size()));
  FixedModel model{std::move(given)};
  return sample_sequences(std::ref(model), count,
                          {.nucleus = {.top_p = 0.95},
                           .max_length = 6,
                           .begin_token = 9,
                           .end_token = 0,
                           .seed = seed,
                           .first_item = first},
                          num_given);
}

TEST(SampledSequences, AreFunctionsOfSeedAndItem) {
  const std::vector<DecodedSequence> whole = draw_all(0, 30, 5);
  for (int64_t first = 0; first < 30; first += 7) {
    const int64_t count = std::min<int64_t>(7, 30 - first);
    const std::vector<DecodedSequence> part = draw_all(first, count, 5);
    for (int64_t i = 0; i < count; ++i) {
      const DecodedSequence &a = part[static_cast<std::size_t>(i)], &b = whole[static_cast<std::size_t>(first + i)];
      EXPECT_EQ(a.tokens, b.tokens);
      EXPECT_EQ(a.is_finished, b.is_finished);
    }
  }
  int num_same = 0, num_cut = 0;
  const std::vector<DecodedSequence> other = draw_all(0, 30, 6);
  for (std::size_t i = 0; i < 30; ++i) {
    num_same += whole[i].tokens == other[i].tokens;
    num_cut += !whole[i].is_finished;
    EXPECT_EQ(whole[i].tokens.size() == 6, !whole[i].is_finished);
    const double logs[] = {std::log(0.2), std::log(0.3), std::log(0.1), std::log(0.4)};
    double expected = whole[i].is_finished ? logs[0] : 0;
    for (const int32_t token : whole[i].tokens) expected += logs[token];
    EXPECT_NEAR(whole[i].log_probability, expected, 1e-5);
  }
  EXPECT_LT(num_same, 15);
  EXPECT_GT(num_cut, 0);
}

TEST(SampledSequences, GivenTokensAreNoPartOfThem) {
  const std::vector<DecodedSequence> drawn = draw_all(3, 3, 5, {{}, {2, 2}, {1, 3, 3, 2, 1}});
  const std::vector<DecodedSequence> free = draw_all(3, 3, 5);
  for (std::size_t s = 0; s < 3; ++s) {
    const std::size_t room = std::vector<std::size_t>{6, 4, 1}[s];  // the same, but cut
    std::vector<int32_t> expected = free[s].tokens;
    expected.resize(std::min(expected.size(), room));
    EXPECT_EQ(drawn[s].tokens, expected);
  }
  for (const DecodedSequence& one : drawn) {
    EXPECT_GE(one.log_probability, std::log(0.1) * 6);
    EXPECT_LT(one.log_probability, 0);
  }
}

}  // namespace
}  // namespace triptych::test
