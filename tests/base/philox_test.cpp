#include "base/philox.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using Words = std::array<uint32_t, 4>;

// Counter words c0 c1 are the index, c2 c3 the key's counter; key words k0 k1 its seed. Low words first.
Words philox(const Words& counter, uint32_t k0, uint32_t k1) {
  const auto join = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  return philox4x32({.seed = join(k0, k1), .counter = join(counter[2], counter[3])}, join(counter[0], counter[1]));
}

// The three lines "philox4x32 10" of Random123's kat_vectors.
TEST(Philox, KnownAnswersOfRandom123) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, ElementsTakeTheWordsOfTheirBlock) {
  const RandomKey key = random_key(1, "elements", 2);
  for (uint64_t i = 0; i < 9; ++i) EXPECT_EQ(philox_word(key, i), philox4x32(key, i / 4)[i % 4]);
  EXPECT_NE(philox_word(key, uint64_t{1} << 34), philox_word(key, 0)) << "the index has 64 bits";
}

TEST(RandomKey, SeedPurposeAndCounterAllTell) {
  std::set<std::pair<uint64_t, uint64_t>> keys;
  for (const uint64_t seed : {0, 1, 2}) {
    for (const char* purpose : {"", "a", "b", "ab", "ba"}) {
      for (const uint64_t counter : {0, 1}) {
        const RandomKey key = random_key(seed, purpose, counter);
        EXPECT_TRUE(keys.emplace(key.seed, key.counter).second) << seed << purpose << counter;
      }
    }
  }
}

// Of n uniforms the mean is 1/2 +- 0.289 / sqrt(n) and the k-th of 16 equal bins holds n/16 +- sqrt(n/16 * 15/16).
TEST(PhiloxUniform, FillsItsIntervalEvenly) {
  constexpr int kCount = 100'000, kBins = 16;
  const RandomKey key = random_key(3, "uniform", 0);
  std::vector<int> bins(kBins);
  double sum = 0;
  for (int i = 0; i < kCount; ++i) {
    const float x = philox_uniform(key, static_cast<uint64_t>(i));
    ASSERT_GE(x, 0.0f);
    ASSERT_LT(x, 1.0f);
    sum += x;
    ++bins[static_cast<std::size_t>(x * kBins)];
  }
  EXPECT_NEAR(sum / kCount, 0.5, 4 * 0.289 / std::sqrt(kCount));
  for (const int bin : bins) EXPECT_NEAR(bin, kCount / kBins, 4 * std::sqrt(kCount / kBins * 15.0 / 16));
}

// The k-th moment's sample has standard deviation sqrt((m_2k - m_k^2) / n): 1, sqrt 2, sqrt 15, sqrt 96 for k = 1 to 4.
TEST(PhiloxNormal, HasANormalsMoments) {
  constexpr int kCount = 200'000;
  const RandomKey key = random_key(4, "normal", 0);
  std::array<double, 5> moments{};
  double neighbours = 0, beyond_two = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = philox_normal(key, static_cast<uint64_t>(i));
    ASSERT_TRUE(std::isfinite(x));
    for (std::size_t k = 1; k < moments.size(); ++k) moments[k] += std::pow(x, static_cast<double>(k)) / kCount;
    if (i % 2 == 1) neighbours += x * philox_normal(key, static_cast<uint64_t>(i - 1)) / (kCount / 2.0);
    beyond_two += std::abs(x) > 2 ? 1.0 / kCount : 0;
  }
  const double unit = 4 / std::sqrt(kCount);
  EXPECT_NEAR(moments[1], 0, unit);
  EXPECT_NEAR(moments[2], 1, unit * std::sqrt(2.0));
  EXPECT_NEAR(moments[3], 0, unit * std::sqrt(15.0));
  EXPECT_NEAR(moments[4], 3, unit * std::sqrt(96.0));
  EXPECT_NEAR(neighbours, 0, unit * std::sqrt(2.0)) << "cosine and sine of one pair are independent";
  EXPECT_NEAR(beyond_two, 0.0455003, unit * std::sqrt(0.0455 * 0.9545));
}

}  // namespace
}  // namespace triptych::test
