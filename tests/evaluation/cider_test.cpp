#include "evaluation/cider.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/reference.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Strings = std::vector<std::string>;

TEST(Cider, ScoresCorporaAsTheCaptionsEvaluationDoes) {
  const nlohmann::json reference = read_reference("captions.json");
  ASSERT_GE(reference["corpora"].size(), 10u);
  for (const nlohmann::json& corpus : reference["corpora"]) {
    CiderCounter counter;
    for (std::size_t i = corpus["begin"]; i < corpus["end"]; ++i) {
      Strings segment = reference["segments"][i];
      const std::string produced = segment.front();
      segment.erase(segment.begin());
      counter.add(produced, segment);
    }
    EXPECT_EQ(counter.num_images(), corpus["end"].get<int64_t>() - corpus["begin"].get<int64_t>());
    EXPECT_LE(relative_error(counter.scores(), corpus["cider_scores"].get<std::vector<double>>()), kBetweenDoubles)
        << corpus;
    EXPECT_LE(relative_error(std::vector{counter.corpus_score()}, std::vector<double>{corpus["cider"]}),
              kBetweenDoubles)
        << corpus;
  }
}

// By hand: in two images all n-grams but "a" have the weight log 2, and "a" has none. "a red dog" against
// "a big red dog": of single words min(1, 1) of {red, dog} and {big, red, dog}, 2 / sqrt(2 * 3); of pairs "red dog" of
// {a red, red dog} and {a big, big red, red dog}, 1 / sqrt(2 * 3); of three and four words none. One word of
// difference.
TEST(Cider, AgreesWithTheDefinition) {
  CiderCounter counter;
  counter.add("a red dog", Strings{"a big red dog"});
  counter.add("a cat", Strings{"a cat"});
  const std::vector<double> scores = counter.scores();
  EXPECT_DOUBLE_EQ(scores[0], 10 * std::exp(-1.0 / 72) * (3 / std::sqrt(6.0)) / 4);
  EXPECT_DOUBLE_EQ(scores[1], 10 * (1.0 + 1) / 4);  // it has no n-grams of three and four
  EXPECT_DOUBLE_EQ(counter.corpus_score(), (scores[0] + scores[1]) / 2);
}

// A caption that repeats a word does not gain by it: min(g(c), g(s)) takes it once.
TEST(Cider, ClipsWhatIsRepeated) {
  CiderCounter counter;
  counter.add("dog dog dog", Strings{"dog"});
  counter.add("cat", Strings{"cat"});
  EXPECT_DOUBLE_EQ(counter.scores()[0], 10 * std::exp(-4.0 / 72) * (1.0 / 3) / 4);
}

TEST(Cider, OfNothingIsZero) {
  CiderCounter counter;
  EXPECT_EQ(counter.corpus_score(), 0);
  counter.add("a dog runs fast", Strings{"a dog runs fast"});
  EXPECT_EQ(counter.corpus_score(), 0);  // of one image
  counter.add("", Strings{"a cat", ""});
  counter.add("a bird", Strings{""});
  EXPECT_EQ(counter.scores(), (std::vector<double>{10, 0, 0}));
}

TEST(Cider, RefusesWhatIsNoText) {
  CiderCounter counter;
  EXPECT_THROW(counter.add("a", Strings{}), InternalError);
  EXPECT_THROW(counter.add("\xff", Strings{"a"}), InternalError);
  EXPECT_THROW(counter.add("a", Strings{"a", "\xff"}), InternalError);
  EXPECT_EQ(counter.num_images(), 0);
}

}  // namespace
}  // namespace triptych::test
