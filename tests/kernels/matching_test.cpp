#include "kernels/matching.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernel_support.h"

namespace triptych::test {
namespace {

// 11 samples in groups of 4: the last one has 3. In the second group only number 6 has an image.
const std::vector<uint8_t> kImages{1, 1, 0, 255, 0, 0, 1, 0, 1, 1, 1}, kTexts{1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1},
    kMatched{0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0};
const std::vector<int32_t> kTargets{0, 1, -1, -1, -1, -1, -1, -1, 1, 0, 0};
constexpr int64_t kGroup = 4;

struct Rows {
  explicit Rows(Device& device) : images(device, kImages), texts(device, kTexts), matched(device, kMatched) {}
  MatchedRows view() const {
    return {.image_present = images.data(),
            .text_present = texts.data(),
            .matched = matched.data(),
            .num_samples = static_cast<int64_t>(kImages.size()),
            .group = kGroup};
  }
  DeviceArray<uint8_t> images, texts, matched;
};

TEST(Matching, TargetsSayWhatATextGets) {
  for_devices([](Device& device) {
    const Rows rows(device);
    DeviceArray<int32_t> out(device, std::vector<int32_t>(kImages.size(), 99));
    matching_targets(device.stream(), rows.view(), out.data());
    EXPECT_EQ(out.host(), kTargets);
  });
}

// Over many keys each candidate comes as often as the softmax says.
TEST(Matching, NegativesFollowTheSoftmaxOfSimilarities) {
  for_devices([](Device& device) {
    constexpr int64_t kEmbedding = 3;
    constexpr uint64_t kDraws = 1000;
    constexpr float kScale = 2;
    const Rows rows(device);
    std::vector<float> image, text;
    for (std::size_t i = 0; i < kImages.size() * kEmbedding; ++i) {
      image.push_back(std::sin(static_cast<float>(i * i)));
      text.push_back(std::cos(static_cast<float>(3 * i)));
    }
    const DeviceArray<float> images(device, image), texts(device, text);
    std::vector<std::vector<double>> counts(kImages.size(), std::vector<double>(kImages.size(), 0));
    DeviceArray<int32_t> sources(device, std::vector<int32_t>(kImages.size(), 99));
    for (uint64_t draw = 0; draw < kDraws; ++draw) {
      hard_negatives(device.stream(), {.rows = rows.view(),
                                       .image = images.data(),
                                       .text = texts.data(),
                                       .embedding = kEmbedding,
                                       .scale = kScale,
                                       .key = random_key(5, "test", draw),
                                       .first_sample = 12,
                                       .sources = sources.data()});
      const std::vector<int32_t> found = sources.host();
      for (std::size_t i = 0; i < found.size(); ++i) ++counts[i][static_cast<std::size_t>(found[i])];
    }
    for (std::size_t i = 0; i < kImages.size(); ++i) {
      std::vector<double> expected(kImages.size(), 0);
      double sum = 0;
      const std::size_t begin = i / kGroup * kGroup;
      for (std::size_t j = begin; j < std::min<std::size_t>(begin + kGroup, kImages.size()); ++j) {
        if (kTargets[i] != 0 || j == i || kImages[j] == 0) continue;
        double dot = 0;
        for (std::size_t e = 0; e < kEmbedding; ++e) {
          dot += static_cast<double>(text[i * kEmbedding + e]) * image[j * kEmbedding + e];
        }
        expected[j] = std::exp(kScale * dot);
        sum += expected[j];
      }
      if (sum == 0) expected[i] = sum = 1;  // its own
      for (std::size_t j = 0; j < kImages.size(); ++j) {
        const double p = expected[j] / sum;
        // Five standard deviations of a share of so many draws.
        EXPECT_NEAR(counts[i][j] / kDraws, p, 5 * std::sqrt(p * (1 - p) / kDraws)) << i << " gets " << j;
      }
    }
  });
}

// A group's choice is its own: the same rows alone, at the same place of the global batch, choose the same.
TEST(Matching, AGroupChoosesAlikeInAnyBatch) {
  for_devices([](Device& device) {
    const std::vector<uint8_t> ones(12, 1), none(12, 0);
    const DeviceArray<uint8_t> present(device, ones), mismatched(device, none);
    std::vector<float> values;
    for (int i = 0; i < 24; ++i) values.push_back(std::sin(static_cast<float>(i)));
    const DeviceArray<float> embeddings(device, values);
    const auto chosen = [&](int64_t first, int64_t count) {
      DeviceArray<int32_t> sources(device, std::vector<int32_t>(static_cast<std::size_t>(count), 99));
      hard_negatives(device.stream(), {.rows = {.image_present = present.data() + first,
                                                .text_present = present.data() + first,
                                                .matched = mismatched.data() + first,
                                                .num_samples = count,
                                                .group = 4},
                                       .image = embeddings.data() + 2 * first,
                                       .text = embeddings.data() + 2 * first,
                                       .embedding = 2,
                                       .key = random_key(5, "test", 0),
                                       .first_sample = first,
                                       .sources = sources.data()});
      return sources.host();
    };
    const std::vector<int32_t> whole = chosen(0, 12);
    for (const int64_t first : {0, 4, 8}) {
      const std::vector<int32_t> group = chosen(first, 4);
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(group[i] + first, whole[static_cast<std::size_t>(first) + i]);
        EXPECT_NE(group[i], static_cast<int32_t>(i)) << "never its own";
      }
    }
  });
}

}  // namespace
}  // namespace triptych::test
