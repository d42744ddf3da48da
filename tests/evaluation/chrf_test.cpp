#include "evaluation/chrf.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

struct Case {
  std::string produced;
  std::vector<std::string> references;
  double chrf, chrf_plus_plus;
};

// The scores are those of sacreBLEU 2.6.0: CHRF(word_order=0) and CHRF(word_order=2), sentence_score.
const std::vector<Case> kCases = {
    {"the cat sat on the mat", {"the cat sat on the mat"}, 100.0, 100.0},
    {"the cat is on the mat", {"the cat sat on the mat"}, 61.9251512899325, 64.37034100933843},
    {"a red apple", {"red apple", "an apple that is red"}, 96.17320480751631, 94.40410859113204},
    {"", {"red apple"}, 0.0, 0.0},
    {"xyz", {"red apple"}, 0.0, 0.0},
    {"红苹果", {"红色的苹果", "一个红苹果"}, 53.34987593052109, 40.01240694789082},
    {"一只猫坐在垫子上。", {"猫坐在垫子上"}, 83.4542337114218, 71.53220032407582},
    {"Hello, world! (yes)", {"Hello world yes."}, 45.24950151832581, 39.65156269363372},
    {"ab", {"abc"}, 63.636363636363626, 42.42424242424242},
    {"a", {"a"}, 100.0, 100.0},
    {"two  spaces\u00a0and\u3000more", {"two spaces and more"}, 100.0, 100.0},
    {"naïve café – déjà vu", {"naive cafe - deja vu", "naïve café, déjà vu"}, 72.00112387612387, 70.2508429070929},
    {"a picture of a dog playing in the snow.",
     {"a dog plays in the snow", "the dog is running through snow .", "a brown dog in snow"},
     65.12304145045765,
     64.51301142624685},
    {"!?", {"?!"}, 50.0, 50.0},
    {"red apple", {""}, 0.0, 0.0},
};

void expect_near(double found, double expected, const std::string& what) {
  EXPECT_LE(test::relative_error(std::vector<double>{found}, std::vector<double>{expected}),
            test::tolerance(DType::kFloat32).scalar)
      << what << ": " << found << ", expected " << expected;
}

TEST(Chrf, ScoresSegmentsAsSacreBleuDoes) {
  for (const Case& each : kCases) {
    expect_near(ChrfCounter().add(each.produced, each.references), each.chrf, each.produced);
    expect_near(ChrfCounter({.word_order = 2}).add(each.produced, each.references), each.chrf_plus_plus, each.produced);
  }
}

// By hand: "ab" against "abc" has the 1-grams a, b of a, b, c and the 2-gram ab of ab, bc; there is no common longer
// order. P = 1, R = (2/3 + 1/2) / 2 = 7/12; F = 5 P R / (4 P + R) = (35/12) / (55/12) = 7/11.
TEST(Chrf, AgreesWithTheDefinition) {
  expect_near(ChrfCounter().add("ab", std::vector<std::string>{"abc"}), 100 * 7.0 / 11, "ab");
}

TEST(Chrf, ACorpusIsCountedBeforeItIsDivided) {
  // corpus_score of the same library, over the cases with one and those with two references.
  for (const auto& [num_references, chrf, chrf_plus_plus] :
       {std::tuple(std::size_t{1}, 67.46845366953993, 66.52643768961045), {2, 74.39139735808851, 72.21223781289355}}) {
    ChrfCounter plain, with_words({.word_order = 2});
    int64_t num_segments = 0;
    for (const Case& each : kCases) {
      if (each.references.size() != num_references) continue;
      plain.add(each.produced, each.references);
      with_words.add(each.produced, each.references);
      ++num_segments;
    }
    EXPECT_EQ(plain.num_segments(), num_segments);
    expect_near(plain.corpus_score(), chrf, "chrF");
    expect_near(with_words.corpus_score(), chrf_plus_plus, "chrF++");
  }
  EXPECT_EQ(ChrfCounter().corpus_score(), 0);
}

TEST(Chrf, TakesOrderAndBeta) {
  const std::vector<std::string> reference{"the cat sat on the mat"};
  expect_near(ChrfCounter({.char_order = 4, .beta = 1}).add("the cat is on the mat", reference), 74.13876013640292,
              "4");
  expect_near(ChrfCounter({.beta = 3}).add("the cat is on the mat", reference), 61.50406474392104, "3");
}

TEST(Chrf, RefusesWhatIsNoText) {
  const std::vector<std::string> reference{"a"}, broken{"\xff"};
  EXPECT_THROW(ChrfCounter().add("\xE7\xBA", reference), InternalError);
  EXPECT_THROW(ChrfCounter().add("a", broken), InternalError);
  EXPECT_THROW(ChrfCounter().add("a", {}), InternalError);
  EXPECT_THROW(ChrfCounter({.char_order = 0}), InternalError);
  EXPECT_THROW(ChrfCounter({.word_order = 5}), InternalError);
}

}  // namespace
}  // namespace triptych::test
