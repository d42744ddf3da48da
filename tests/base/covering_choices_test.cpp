#include "base/covering_choices.h"

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"

namespace triptych::test {
namespace {

using Pair = std::tuple<std::size_t, int, std::size_t, int>;

std::set<Pair> pairs_of(const std::vector<Choice>& choices) {
  std::set<Pair> pairs;
  for (const Choice& choice : choices) {
    for (std::size_t a = 0; a < choice.size(); ++a) {
      for (std::size_t b = a + 1; b < choice.size(); ++b) pairs.insert({a, choice[a], b, choice[b]});
    }
  }
  return pairs;
}

const ChoiceRule kAll = [](const Choice&) { return true; };

TEST(CoveringChoices, AreHardlyMoreThanThoseOfTheOrthogonalArrays) {
  struct Known {
    std::vector<int> num_values;
    std::size_t least;  // choices of a covering array of these sizes
  };
  for (const Known& known :
       {Known{{2, 2, 2}, 4}, Known{{3, 3, 3, 3}, 9}, Known{{4, 4, 4, 4, 4}, 16}, Known{{7, 5, 3, 3, 3, 2, 2}, 35}}) {
    const std::vector<Choice> choices = covering_choices(known.num_values, kAll);
    EXPECT_GE(choices.size(), known.least);
    EXPECT_LE(choices.size(), known.least * 8 / 5);
    EXPECT_EQ(pairs_of(choices), pairs_of(all_choices(known.num_values, kAll)));
    EXPECT_EQ(choices, covering_choices(known.num_values, kAll));
  }
}

TEST(CoveringChoices, OfFewerThanTwoFactorsAreAll) {
  EXPECT_EQ(covering_choices(std::vector<int>{}, kAll), std::vector<Choice>{{}});
  EXPECT_EQ(covering_choices(std::vector<int>{3}, [](const Choice& c) { return c[0] != 1; }),
            (std::vector<Choice>{{0}, {2}}));
  EXPECT_EQ(covering_choices(std::vector<int>{2, 2}, [](const Choice&) { return false; }), std::vector<Choice>{});
  EXPECT_EQ(all_choices(std::vector<int>{2, 1, 2}, kAll),
            (std::vector<Choice>{{0, 0, 0}, {0, 0, 1}, {1, 0, 0}, {1, 0, 1}}));
}

// Random rules: some pairs of values are refused, and choices whose values sum up to too much.
TEST(CoveringChoices, HaveEveryPairThatIsAllowedAndNoOther) {
  for (uint32_t trial = 0; trial < 40; ++trial) {
    uint64_t counter = 0;
    const auto draw = [&](int below) {
      return static_cast<int>(philox_word({.seed = trial, .counter = 0}, counter++) % static_cast<uint32_t>(below));
    };
    std::vector<int> num_values;
    for (int f = 2 + draw(5); f > 0; --f) num_values.push_back(1 + draw(4));
    std::set<Pair> refused;
    for (int n = draw(12); n > 0; --n) {
      const auto a = static_cast<std::size_t>(draw(static_cast<int>(num_values.size()))),
                 b = static_cast<std::size_t>(draw(static_cast<int>(num_values.size())));
      const int i = draw(num_values[a]), j = draw(num_values[b]);
      if (a < b && i > 0 && j > 0) refused.insert({a, i, b, j});
    }
    const int most = 2 + draw(10);
    const ChoiceRule is_allowed = [&](const Choice& choice) {
      int sum = 0;
      for (const int value : choice) sum += value;
      bool allowed = sum <= most;
      for (const Pair& pair : pairs_of({choice})) allowed = allowed && !refused.contains(pair);
      return allowed;
    };
    const std::vector<Choice> choices = covering_choices(num_values, is_allowed);
    for (const Choice& choice : choices) EXPECT_TRUE(is_allowed(choice)) << "trial " << trial;
    EXPECT_EQ(pairs_of(choices), pairs_of(all_choices(num_values, is_allowed))) << "trial " << trial;
  }
}

}  // namespace
}  // namespace triptych::test
