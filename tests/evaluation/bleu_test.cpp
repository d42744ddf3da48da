#include "evaluation/bleu.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "evaluation/caption_words.h"
#include "evaluation/chrf.h"
#include "support/reference.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Strings = std::vector<std::string>;

BleuScore bleu_of(const std::string& produced, const Strings& references) {
  BleuCounter counter;
  counter.add(produced, references);
  return counter.corpus_score();
}

TEST(Words13a, AreThoseOfSacreBleu) {
  const nlohmann::json reference = read_reference("captions.json");
  ASSERT_GE(reference["words"].size(), 50u);
  for (const nlohmann::json& each : reference["words"]) {
    EXPECT_EQ(words_13a(each[0].get<std::string>()), each[1].get<Strings>()) << each[0];
  }
}

TEST(Words13a, RefuseWhatIsNoText) {
  EXPECT_TRUE(words_13a("").empty());
  EXPECT_TRUE(words_13a(" \n\t\u3000").empty());
  EXPECT_THROW(words_13a("\xE7\xBA"), InternalError);
}

TEST(PlainCaption, HasNoPunctuationAndNoCapitals) {
  EXPECT_EQ(plain_caption("Two Dogs, one of them BROWN, play (happily)..."), "two dogs one of them brown play happily");
  EXPECT_EQ(plain_caption("It's the man's 3-year-old."), "it's the man's 3 year-old");
  EXPECT_EQ(plain_caption("?! -- ..."), "");
  EXPECT_EQ(plain_caption("猫 É"), "猫 É");
}

TEST(Bleu, ScoresCorporaAsSacreBleuDoes) {
  const nlohmann::json reference = read_reference("captions.json");
  ASSERT_GE(reference["corpora"].size(), 10u);
  for (const nlohmann::json& corpus : reference["corpora"]) {
    BleuCounter counter;
    ChrfCounter chrf, chrf_plus_plus({.word_order = 2});
    for (std::size_t i = corpus["begin"]; i < corpus["end"]; ++i) {
      Strings segment = reference["segments"][i];
      const std::string produced = segment.front();
      segment.erase(segment.begin());
      counter.add(produced, segment);
      chrf.add(produced, segment);
      chrf_plus_plus.add(produced, segment);
    }
    const BleuScore score = counter.corpus_score();
    EXPECT_EQ(score.produced_length, corpus["produced_length"]);
    EXPECT_EQ(score.reference_length, corpus["reference_length"]);
    const std::vector<double> found{score.score, score.brevity_penalty, chrf.corpus_score(),
                                    chrf_plus_plus.corpus_score()};
    const std::vector<std::string> names{"bleu", "brevity_penalty", "chrf", "chrf_plus_plus"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_LE(relative_error(std::vector{found[i]}, std::vector<double>{corpus[names[i]]}), kBetweenDoubles)
          << corpus << ": " << names[i] << " " << found[i];
    }
    EXPECT_LE(relative_error(score.precisions, corpus["precisions"].get<std::vector<double>>()), kBetweenDoubles);
  }
}

// Papineni et al. 2002, 2.1: "the" occurs at most twice in a reference, so two of the seven count.
TEST(Bleu, CountsAWordAsOftenAsAReferenceHasIt) {
  const BleuScore score = bleu_of("the the the the the the the",
                                  {"The cat is on the mat", "There is a cat on the mat", "the cat and the dog"});
  EXPECT_DOUBLE_EQ(score.precisions[0], 100 * 2.0 / 7);
  EXPECT_DOUBLE_EQ(score.precisions[1], 100 / (2.0 * 6));  // the smoothing: 1/2, 1/4, 1/8 of one
  EXPECT_DOUBLE_EQ(score.precisions[2], 100 / (4.0 * 5));
  EXPECT_DOUBLE_EQ(score.precisions[3], 100 / (8.0 * 4));
}

// By hand: 5 of 6 words, 3 of 5 pairs, 2 of 4, 1 of 3, no penalty.
TEST(Bleu, AgreesWithTheDefinition) {
  const BleuScore score = bleu_of("the cat sat on the rug", {"the cat sat on a rug"});
  EXPECT_DOUBLE_EQ(score.score, 100 * std::pow(5.0 / 6 * 3 / 5 * 2 / 4 * 1 / 3, 0.25));
}

TEST(Bleu, OfReferencesEquallyNearTheShorterCounts) {
  EXPECT_EQ(bleu_of("a b c d", {"a b c d e", "a b c"}).reference_length, 3);
  EXPECT_EQ(bleu_of("a b c d", {"a b c", "a b c d e"}).brevity_penalty, 1);
  EXPECT_DOUBLE_EQ(bleu_of("a b c d", {"a b c d e"}).brevity_penalty, std::exp(1 - 5.0 / 4));
}

TEST(Bleu, OfNothingIsZero) {
  EXPECT_EQ(BleuCounter().corpus_score().score, 0);
  EXPECT_EQ(bleu_of("", {"a dog"}).score, 0);
  EXPECT_EQ(bleu_of("", {"a dog"}).brevity_penalty, 0);
  EXPECT_EQ(bleu_of("", {""}).score, 0);
  EXPECT_EQ(bleu_of("a dog", {""}).score, 0);
  EXPECT_EQ(bleu_of("a dog runs", {"a dog runs"}).score, 0);  // there are no four words
  EXPECT_DOUBLE_EQ(bleu_of("a dog runs fast", {"a dog runs fast"}).score, 100);
}

TEST(Bleu, RefusesWhatIsNoText) {
  BleuCounter counter;
  EXPECT_THROW(counter.add("a", Strings{}), InternalError);
  EXPECT_THROW(counter.add("\xff", Strings{"a"}), InternalError);
  EXPECT_THROW(counter.add("a", Strings{"a", "\xff"}), InternalError);
  EXPECT_EQ(counter.num_segments(), 0);
  EXPECT_EQ(counter.corpus_score().produced_length, 0);
}

}  // namespace
}  // namespace triptych::test
