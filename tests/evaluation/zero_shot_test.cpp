#include "evaluation/zero_shot.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

TEST(PromptOf, PutsTheNameInEveryPlace) {
  EXPECT_EQ(prompt_of("a {}", "red disc"), "a red disc");
  EXPECT_EQ(prompt_of("{}, only {}.", "a"), "a, only a.");
  EXPECT_EQ(prompt_of("{}", "{}"), "{}") << "a name is not a template";
  EXPECT_EQ(prompt_of("a picture", "disc"), "a picture");
}

// The first class's texts point along (3, 4) and (0, 2), of length 1: (0.6, 0.8) and (0, 1), whose mean is (0.3, 0.9);
// the second one's texts have opposite directions, and cancel.
TEST(ClassEmbeddings, AreMeansOfUnitVectorsOfUnitLength) {
  const std::vector<std::string> templates{"a {}", "two {}s"}, names{"cat", "dog"};
  for (const int64_t batch : {1, 3, 7}) {
    std::vector<std::string> asked;
    std::size_t largest = 0;
    const Embeddings classes = class_embeddings(templates, names, batch, [&](std::span<const std::string> texts) {
      std::vector<float> rows;
      largest = std::max(largest, texts.size());
      for (const std::string& text : texts) {
        asked.push_back(text);
        std::vector<float> row{0, 2};
        if (text == "a cat") row = {3, 4};
        if (text == "a dog") row = {5, 0};
        if (text == "two dogs") row = {-1, 0};
        rows.insert(rows.end(), row.begin(), row.end());
      }
      return rows;
    });
    EXPECT_EQ(asked, (std::vector<std::string>{"a cat", "two cats", "a dog", "two dogs"}));
    EXPECT_LE(largest, static_cast<std::size_t>(batch));
    ASSERT_EQ(classes.width, 2);
    ASSERT_EQ(classes.count(), 2);
    EXPECT_NEAR(classes.rows[0], 1 / std::sqrt(10.0), 1e-7);
    EXPECT_NEAR(classes.rows[1], 3 / std::sqrt(10.0), 1e-7);
    EXPECT_EQ(classes.rows[2], 0);
    EXPECT_EQ(classes.rows[3], 0);
  }
}

}  // namespace
}  // namespace triptych::test
