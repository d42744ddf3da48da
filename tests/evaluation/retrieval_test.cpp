#include "evaluation/retrieval.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

constexpr int64_t kWidth = 5;

int64_t small_integer(const char* what, int64_t i, int64_t range) {
  return static_cast<int64_t>(philox_word(random_key(6, what, 0), static_cast<uint64_t>(i)) %
                              static_cast<uint32_t>(2 * range + 1)) -
         range;
}

// The share of queries of which one of their own is among the first k; a wrong one with the same score comes first.
RecallAtK recall_by_loops(const std::vector<std::vector<double>>& scores, const std::vector<int64_t>& of_query,
                          const std::vector<int64_t>& of_candidate, int64_t& num_queries) {
  RecallAtK recall;
  num_queries = 0;
  for (std::size_t q = 0; q < of_query.size(); ++q) {
    double best_right = -1e30;
    for (std::size_t c = 0; c < of_candidate.size(); ++c) {
      if (of_candidate[c] == of_query[q]) best_right = std::max(best_right, scores[q][c]);
    }
    if (best_right == -1e30) continue;
    ++num_queries;
    int before = 0;
    for (std::size_t c = 0; c < of_candidate.size(); ++c) {
      before += of_candidate[c] != of_query[q] && scores[q][c] >= best_right;
    }
    recall.at_1 += before < 1;
    recall.at_5 += before < 5;
    recall.at_10 += before < 10;
  }
  recall.at_1 /= static_cast<double>(num_queries);
  recall.at_5 /= static_cast<double>(num_queries);
  recall.at_10 /= static_cast<double>(num_queries);
  return recall;
}

void expect_equal(const RecallAtK& a, const RecallAtK& b) {
  EXPECT_DOUBLE_EQ(a.at_1, b.at_1);
  EXPECT_DOUBLE_EQ(a.at_5, b.at_5);
  EXPECT_DOUBLE_EQ(a.at_10, b.at_10);
}

// Integers, so that scores are exact and many are equal; more pictures than a block has.
TEST(MeasureRetrieval, EqualsLoopsOverAllPairsWithSeveralCaptionsAPicture) {
  constexpr int64_t kImages = 301;
  Embeddings images{.width = kWidth, .rows = {}}, texts{.width = kWidth, .rows = {}};
  std::vector<int64_t> all_images, image_of_text;
  for (int64_t i = 0; i < kImages; ++i) {
    all_images.push_back(i);
    for (int64_t e = 0; e < kWidth; ++e) {
      images.rows.push_back(static_cast<float>(small_integer("image", i * kWidth + e, 9)));
    }
    for (int64_t k = 0; k < i % 4; ++k) {  // every fourth picture has no caption
      for (int64_t e = 0; e < kWidth; ++e) {
        texts.rows.push_back(images.rows[static_cast<std::size_t>(i * kWidth + e)] +
                             static_cast<float>(small_integer("text", (i * 4 + k) * kWidth + e, 3)));
      }
      image_of_text.push_back(i);
    }
  }
  std::vector<std::vector<double>> by_image(kImages, std::vector<double>(image_of_text.size(), 0));
  std::vector<std::vector<double>> by_text(image_of_text.size(), std::vector<double>(kImages, 0));
  for (std::size_t i = 0; i < by_image.size(); ++i) {
    for (std::size_t t = 0; t < by_text.size(); ++t) {
      for (std::size_t e = 0; e < kWidth; ++e) {
        by_image[i][t] += static_cast<double>(images.rows[i * kWidth + e]) * texts.rows[t * kWidth + e];
      }
      by_text[t][i] = by_image[i][t];
    }
  }
  int64_t num_images = 0, num_texts = 0;
  const RecallAtK to_text = recall_by_loops(by_image, all_images, image_of_text, num_images);
  const RecallAtK to_image = recall_by_loops(by_text, image_of_text, all_images, num_texts);
  for (const int ranks : {1, 2, 3}) {  // with three, one has no block
    run_ranks(ranks, [&](Group& group) {
      Device device(1);
      const Retrieval result = measure_retrieval(device, group, images, texts, image_of_text);
      expect_equal(result.image_to_text, to_text);
      expect_equal(result.text_to_image, to_image);
      EXPECT_EQ(result.num_images, num_images);
      EXPECT_EQ(result.num_texts, num_texts);
      EXPECT_LT(num_images, kImages);
      EXPECT_GT(to_text.at_1, result.image_to_text_chance.at_1);
      EXPECT_LT(to_text.at_1, to_text.at_10);
      // One of n pictures is right: k of n by chance.
      EXPECT_NEAR(result.text_to_image_chance.at_5, 5.0 / kImages, 1e-12);
    });
  }
}

TEST(Best, IsByScoreThenByNumber) {
  const std::vector<float> scores{1, 3, 2, 3, -1};
  EXPECT_EQ(best(scores, 3), (std::vector<int64_t>{1, 3, 2}));
  EXPECT_EQ(best(scores, 9), (std::vector<int64_t>{1, 3, 2, 0, 4}));
  EXPECT_TRUE(best({}, 2).empty());
}

}  // namespace
}  // namespace triptych::test
