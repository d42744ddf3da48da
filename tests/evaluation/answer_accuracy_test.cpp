#include "evaluation/answer_accuracy.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/reference.h"

namespace triptych::test {
namespace {

using Strings = std::vector<std::string>;

TEST(NormalizeAnswer, WritesAnswersAsTheVqaEvaluationDoes) {
  const nlohmann::json reference = read_reference("answers.json");
  ASSERT_GE(reference["normalized"].size(), 200u);
  for (const nlohmann::json& each : reference["normalized"]) {
    EXPECT_EQ(normalize_answer(each[0].get<std::string>()), each[1].get<std::string>()) << each[0];
  }
}

TEST(VqaAccuracy, IsThatOfTheVqaEvaluation) {
  const nlohmann::json reference = read_reference("answers.json");
  ASSERT_GE(reference["questions"].size(), 50u);
  for (const nlohmann::json& question : reference["questions"]) {
    EXPECT_DOUBLE_EQ(vqa_accuracy(question["produced"].get<std::string>(), question["people"].get<Strings>()),
                     question["accuracy"].get<double>())
        << question;
  }
}

// Of ten people one who agrees is in nine of the ten sets of nine, where 1/3 is given: 0.3.
TEST(VqaAccuracy, GrowsWithThoseWhoAgree) {
  const std::vector<double> expected{0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
  for (std::size_t agree = 0; agree <= 10; ++agree) {
    Strings people(10, "no");
    std::fill_n(people.begin(), agree, "yes");
    EXPECT_DOUBLE_EQ(vqa_accuracy("Yes!", people), expected[agree]) << agree;
  }
}

TEST(VqaAccuracy, NeedsPeople) {
  EXPECT_THROW(vqa_accuracy("yes", Strings{}), InternalError);
  EXPECT_THROW(vqa_accuracy("yes", Strings(3, "yes")), InternalError);
  EXPECT_EQ(vqa_accuracy("yes", Strings(4, "yes")), 1);
  EXPECT_EQ(vqa_accuracy("", Strings(10, "the")), 1);  // of which nothing is left
  EXPECT_THROW(vqa_accuracy("\xff", Strings(4, "yes")), InternalError);
  EXPECT_THROW(vqa_accuracy("yes", Strings(4, "\xff")), InternalError);
}

// Of three or fewer no share but all or nothing is known.
TEST(ShareOfPeople, IsWhetherAnyOfAFewGaveTheAnswer) {
  EXPECT_EQ(share_of_people("a dog", Strings{"cat", "Dog.", "fox"}), 1);
  EXPECT_EQ(share_of_people("a dog", Strings{"cat", "fox"}), 0);
  EXPECT_EQ(share_of_people("a dog", Strings{}), 0);
  EXPECT_DOUBLE_EQ(share_of_people("dog", Strings{"dog", "cat", "cat", "cat"}),
                   vqa_accuracy("dog", Strings{"dog", "cat", "cat", "cat"}));
}

TEST(AnswerAccuracy, ComparesNormalizedAnswers) {
  EXPECT_EQ(answer_accuracy("Two", "2"), 1);
  EXPECT_EQ(answer_accuracy("a red-brown dog.", "red brown dog"), 1);
  EXPECT_EQ(answer_accuracy("red", "brown"), 0);
  EXPECT_EQ(answer_accuracy("", ""), 1);
  EXPECT_EQ(answer_accuracy("", "red"), 0);
}

}  // namespace
}  // namespace triptych::test
