#include "data/source_mix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "shard_support.h"

namespace triptych::test {
namespace {

const std::vector<std::vector<double>> kWeights{{1},        {1, 1},          {3, 1},          {1, 1e-9},
                                                {0.7, 0.3}, {5, 3, 2},       {1, 1, 1, 1, 1}, {1, 100, 10, 7},
                                                {2, 1, 1},  {1e-300, 3e-300}};

// The word is walked from its beginning, and every other question about it is answered by counting.
TEST(SourceMix, EveryQuestionAgreesWithTheWordItself) {
  for (const std::vector<double>& weights : kWeights) {
    const SourceMix mix(weights);
    std::vector<uint64_t> count(weights.size());
    std::vector<std::vector<uint64_t>> counts{count};
    for (uint64_t position = 0; position < 700; ++position) {
      const SourceMix::Place place = mix.place(position);
      ASSERT_LT(place.source, weights.size());
      ASSERT_EQ(place.index, count[place.source]) << "position " << position;
      ++count[place.source];
      counts.push_back(count);
      for (std::size_t s = 0; s < weights.size(); ++s) ASSERT_EQ(mix.count(s, position + 1), count[s]);
      ASSERT_EQ(mix.position_after(place.source, count[place.source]), position + 1);
    }
    for (const std::size_t length : {1, 2, 7, 12, 64}) {
      for (std::size_t s = 0; s < weights.size(); ++s) {
        for (std::size_t begin = 0; begin + length < counts.size(); ++begin) {
          ASSERT_LE(counts[begin + length][s] - counts[begin][s], mix.most(s, length));
        }
      }
    }
  }
}

TEST(SourceMix, NoStretchIsFarFromTheShares) {
  for (const std::vector<double>& weights : kWeights) {
    const SourceMix mix(weights);
    double sum = 0, greatest = 0;
    for (const double weight : weights) sum += weight / weights[0];
    const double bound = weights.size() <= 2 ? 1 : 1 + std::log(static_cast<double>(weights.size()));
    for (std::size_t s = 0; s < weights.size(); ++s) {
      const double share = weights[s] / weights[0] / sum;
      EXPECT_NEAR(mix.share(s), share, 1e-9);
      for (uint64_t position = 0; position < 5000; ++position) {
        greatest = std::max(
            greatest, std::abs(static_cast<double>(mix.count(s, position)) - share * static_cast<double>(position)));
      }
    }
    EXPECT_LE(greatest, bound);
  }
}

TEST(SourceMix, IsExactFarAway) {
  const SourceMix mix(std::vector<double>{3, 1});
  const uint64_t far = uint64_t{1} << 60;
  EXPECT_EQ(mix.count(0, far), far / 4 * 3);
  EXPECT_EQ(mix.count(1, far), far / 4);
  const uint64_t after = mix.position_after(1, 12345);
  EXPECT_EQ(mix.count(1, after), 12345u);
  EXPECT_EQ(mix.count(1, after - 1), 12344u);
}

TEST(SourceMix, KnowsWeightsByWhatTheyComeTo) {
  EXPECT_EQ(SourceMix(std::vector<double>{1, 3}).text(), SourceMix(std::vector<double>{0.25, 0.75}).text());
  EXPECT_NE(SourceMix(std::vector<double>{1, 3}).text(), SourceMix(std::vector<double>{3, 1}).text());
  EXPECT_EQ(SourceMix(std::vector<double>{7}).text(), SourceMix(std::vector<double>{1}).text());
}

TEST(SourceMix, RefusesWhatIsNoWeight) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double weight : {0.0, -1.0, kInfinity, std::nan("")}) {
    expect_error(ErrorKind::kUser, "a weight must be above 0", [&] { SourceMix(std::vector<double>{1, weight}); });
  }
  expect_error(ErrorKind::kUser, "must be 1 to 256 sources", [&] { SourceMix(std::vector<double>()); });
  expect_error(ErrorKind::kUser, "must be 1 to 256 sources", [&] { SourceMix(std::vector<double>(257, 1.0)); });
}

}  // namespace
}  // namespace triptych::test
