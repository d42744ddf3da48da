#include "data/source_order.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

std::vector<uint64_t> epoch_order(const SourceOrder& order, uint64_t epoch) {
  std::vector<uint64_t> result;
  for (uint64_t i = 0; i < order.num_samples(); ++i) result.push_back(order.sample(epoch, i));
  return result;
}

TEST(SourceOrder, IsAPermutationOfEverySize) {
  std::vector<uint64_t> sizes{997, 1000, 1023, 1024, 1025};
  for (uint64_t n = 1; n <= 130; ++n) sizes.push_back(n);
  for (const uint64_t n : sizes) {
    const SourceOrder order(n * 31, n);
    for (const uint64_t epoch : {0u, 1u, 77u}) {
      const std::vector<uint64_t> samples = epoch_order(order, epoch);
      const std::set<uint64_t> distinct(samples.begin(), samples.end());
      ASSERT_EQ(distinct.size(), n);
      ASSERT_EQ(*distinct.rbegin(), n - 1);
    }
  }
}

TEST(SourceOrder, DiffersBetweenEpochsAndSeeds) {
  const SourceOrder a(1, 500), b(2, 500);
  EXPECT_NE(epoch_order(a, 0), epoch_order(a, 1));
  EXPECT_NE(epoch_order(a, 0), epoch_order(b, 0));
  EXPECT_EQ(epoch_order(a, 3), epoch_order(SourceOrder(1, 500), 3));
  int fixed = 0;
  for (uint64_t i = 0; i < 500; ++i) fixed += a.sample(0, i) == i;
  EXPECT_LE(fixed, 8);  // 1 on average; more than 8 once in a million
}

// Pearson's statistic over epochs; the limits are exceeded once in about 10^6 random permutations.
TEST(SourceOrder, IsUniformOverPlacesAndOrders) {
  constexpr uint64_t kEpochs = 6000;
  const SourceOrder seven(9, 7);
  std::vector<int> count(49);
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    for (uint64_t i = 0; i < 7; ++i) ++count[seven.sample(epoch, i) * 7 + i];
  }
  double statistic = 0;
  for (const int n : count) statistic += (n - kEpochs / 7.0) * (n - kEpochs / 7.0) / (kEpochs / 7.0);
  EXPECT_LT(statistic, 90);  // 36 degrees of freedom

  const SourceOrder four(9, 4);
  std::map<std::vector<uint64_t>, int> orders;
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) ++orders[epoch_order(four, epoch)];
  EXPECT_EQ(orders.size(), 24u);
  statistic = 0;
  for (const auto& [order, n] : orders) statistic += (n - kEpochs / 24.0) * (n - kEpochs / 24.0) / (kEpochs / 24.0);
  EXPECT_LT(statistic, 68);  // 23 degrees of freedom
}

TEST(SourceOrder, NeighboursInTheOrderAreNotNeighboursInTheData) {
  const SourceOrder order(3, 1000);
  int close = 0, count = 0;
  for (uint64_t epoch = 0; epoch < 20; ++epoch) {
    for (uint64_t i = 0; i + 1 < 1000; ++i, ++count) {
      const auto a = static_cast<int64_t>(order.sample(epoch, i)), b = static_cast<int64_t>(order.sample(epoch, i + 1));
      close += std::abs(a - b) <= 10;
    }
  }
  EXPECT_NEAR(close, count * 0.0199, 5 * std::sqrt(count * 0.02));
}

TEST(SourceOrder, ReachesVastDataSets) {
  const uint64_t n = (uint64_t{1} << 62) + 12345;
  const SourceOrder order(4, n);
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 2000; ++i) {
    const uint64_t sample = order.sample(2, n - 1 - i);
    EXPECT_LT(sample, n);
    seen.insert(sample);
  }
  EXPECT_EQ(seen.size(), 2000u);
  EXPECT_GT(*seen.rbegin(), n / 2);
  EXPECT_LT(*seen.begin(), n / 2);
}

TEST(SourceOrder, NoBatchHasASampleTwiceAndEveryEpochHasAll) {
  for (const uint64_t n : {1u, 2u, 3u, 5u, 7u, 11u, 12u, 16u, 29u, 50u}) {
    for (uint64_t batch = 1; batch <= n; ++batch) {
      const SourceOrder order(7 * n + batch, n, batch);
      const uint64_t num_epochs = 2 * batch + 3;
      std::vector<uint64_t> stream;
      for (uint64_t p = 0; p < n * num_epochs; ++p) stream.push_back(order.sample_at(p));
      for (uint64_t first = 0; first + batch <= stream.size(); first += batch) {
        const std::set<uint64_t> distinct(stream.begin() + static_cast<std::ptrdiff_t>(first),
                                          stream.begin() + static_cast<std::ptrdiff_t>(first + batch));
        ASSERT_EQ(distinct.size(), batch) << n << " samples, the batch of " << batch << " at " << first;
      }
      for (uint64_t first = 0; first < stream.size(); first += n) {
        const std::set<uint64_t> distinct(stream.begin() + static_cast<std::ptrdiff_t>(first),
                                          stream.begin() + static_cast<std::ptrdiff_t>(first + n));
        ASSERT_EQ(distinct.size(), n) << "the epoch at " << first;
      }
      // Any position can be asked first.
      for (const uint64_t p : {stream.size() - 1, stream.size() / 2, stream.size() / 3}) {
        EXPECT_EQ(SourceOrder(7 * n + batch, n, batch).sample_at(p), stream[p]);
      }
    }
  }
}

TEST(SourceOrder, ChangesOnlyWhatWouldStandTwiceInABatch) {
  constexpr uint64_t kN = 47, kBatch = 12;
  const SourceOrder order(3, kN, kBatch);
  uint64_t moved = 0, repeats = 0;
  for (uint64_t epoch = 0; epoch < 50; ++epoch) {
    std::set<uint64_t> before;
    const uint64_t begin = epoch * kN, tail = begin % kBatch;
    for (uint64_t k = 1; k <= tail; ++k) before.insert(order.sample(epoch - 1, kN - k));
    for (uint64_t i = 0; i < kN; ++i) {
      if (tail > 0 && i < kBatch - tail) repeats += before.contains(order.sample(epoch, i));
      moved += order.sample_at(begin + i) != order.sample(epoch, i);
    }
  }
  EXPECT_GT(repeats, 10u);
  EXPECT_EQ(moved, 2 * repeats);
  EXPECT_FALSE(order.goes_round());
  EXPECT_FALSE(SourceOrder(3, 12, 12).goes_round());
  EXPECT_TRUE(SourceOrder(3, 13, 12).goes_round());
  EXPECT_TRUE(SourceOrder(3, 22, 12).goes_round());
  EXPECT_FALSE(SourceOrder(3, 23, 12).goes_round());
}

TEST(SourceOrder, PositionsRunThroughEpochs) {
  const SourceOrder order(5, 10);
  EXPECT_EQ(order.place(37).epoch, 3u);
  EXPECT_EQ(order.place(37).index, 7u);
  EXPECT_EQ(order.sample_at(37), order.sample(3, 7));
}

}  // namespace
}  // namespace triptych::test
