#include "parallel/pipeline/partition.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

struct Best {
  double maximum = std::numeric_limits<double>::infinity();
  double squares = std::numeric_limits<double>::infinity();
};

// The costs of the stages of a split, summed block by block.
std::vector<double> costs_of(const std::vector<double>& blocks, const std::vector<double>& boundaries,
                             const std::vector<int>& begin) {
  std::vector<double> costs;
  for (std::size_t s = 0; s + 1 < begin.size(); ++s) {
    double cost = 0;
    for (int b = begin[s]; b < begin[s + 1]; ++b) cost += blocks[static_cast<std::size_t>(b)];
    if (!boundaries.empty() && begin[s] > 0) cost += boundaries[static_cast<std::size_t>(begin[s] - 1)];
    if (!boundaries.empty() && begin[s + 1] < static_cast<int>(blocks.size())) {
      cost += boundaries[static_cast<std::size_t>(begin[s + 1] - 1)];
    }
    costs.push_back(cost);
  }
  return costs;
}

// Tries every split that `fits`.
Best brute_force(const std::vector<double>& blocks, const std::vector<double>& boundaries, int num_stages,
                 const std::function<bool(const std::vector<int>& begin)>& fits = nullptr) {
  Best best;
  std::vector<int> begin{0};
  const std::function<void()> extend = [&] {
    if (static_cast<int>(begin.size()) == num_stages) {
      begin.push_back(static_cast<int>(blocks.size()));
      const std::vector<double> costs = costs_of(blocks, boundaries, begin);
      const double maximum = *std::max_element(costs.begin(), costs.end());
      const double squares = std::inner_product(costs.begin(), costs.end(), costs.begin(), 0.0);
      const bool may_be = !fits || fits(begin);
      if (may_be && std::pair(maximum, squares) < std::pair(best.maximum, best.squares)) best = {maximum, squares};
      begin.pop_back();
      return;
    }
    for (int next = begin.back() + 1; next < static_cast<int>(blocks.size()); ++next) {
      begin.push_back(next);
      extend();
      begin.pop_back();
    }
  };
  extend();
  return best;
}

TEST(Partition, IsTheBestOfAllSplits) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int num_blocks = 1 + static_cast<int>(random() % 9);
    const int num_stages = 1 + static_cast<int>(random() % static_cast<unsigned>(num_blocks));
    // Whole numbers, zero among them, so that sums are exact in any order.
    std::vector<double> blocks(static_cast<std::size_t>(num_blocks)), boundaries;
    for (double& cost : blocks) cost = random() % 12;
    if (round % 2 == 1) {
      boundaries.resize(static_cast<std::size_t>(num_blocks - 1));
      for (double& cost : boundaries) cost = random() % 5;
    }
    const Partition partition = partition_blocks(blocks, num_stages, boundaries);
    ASSERT_EQ(partition.begin.size(), static_cast<std::size_t>(num_stages) + 1);
    ASSERT_EQ(partition.begin.front(), 0);
    ASSERT_EQ(partition.begin.back(), num_blocks);
    for (int s = 0; s < num_stages; ++s) {
      const auto at = static_cast<std::size_t>(s);
      ASSERT_LT(partition.begin[at], partition.begin[at + 1]);
    }
    const std::vector<double> costs = costs_of(blocks, boundaries, partition.begin);
    const Best best = brute_force(blocks, boundaries, num_stages);
    EXPECT_EQ(*std::max_element(costs.begin(), costs.end()), best.maximum);
    EXPECT_EQ(std::inner_product(costs.begin(), costs.end(), costs.begin(), 0.0), best.squares);
  }
}

TEST(Partition, IsTheBestOfTheSplitsThatMemoryHolds) {
  std::mt19937 random(11);
  int num_refused = 0, num_moved = 0;
  for (int round = 0; round < 300; ++round) {
    const auto num_blocks = 2 + random() % 7;
    const int num_stages = 1 + static_cast<int>(random() % num_blocks);
    std::vector<double> blocks(num_blocks), fixed(num_blocks), kept(num_blocks),
        graphs(static_cast<std::size_t>(num_stages));
    for (double& cost : blocks) cost = random() % 12;
    for (double& bytes : fixed) bytes = random() % 9;
    for (double& bytes : kept) bytes = random() % 4;
    for (double& count : graphs) count = 1 + random() % 5;
    const StageMemory memory{.fixed = fixed, .kept = kept, .graphs = graphs, .limit = 12.0 + random() % 30};
    const auto fits = [&](const std::vector<int>& begin) {
      for (std::size_t s = 0; s + 1 < begin.size(); ++s) {
        double bytes = 0;
        for (auto b = static_cast<std::size_t>(begin[s]); b < static_cast<std::size_t>(begin[s + 1]); ++b) {
          bytes += fixed[b] + graphs[s] * kept[b];
        }
        if (bytes > memory.limit) return false;
      }
      return true;
    };
    const Best best = brute_force(blocks, {}, num_stages, fits);
    if (best.maximum == std::numeric_limits<double>::infinity()) {
      ++num_refused;
      EXPECT_THROW(partition_blocks(blocks, num_stages, {}, memory), UserError);
      continue;
    }
    const Partition partition = partition_blocks(blocks, num_stages, {}, memory);
    ASSERT_TRUE(fits(partition.begin));
    const std::vector<double> costs = costs_of(blocks, {}, partition.begin);
    EXPECT_EQ(*std::max_element(costs.begin(), costs.end()), best.maximum);
    EXPECT_EQ(std::inner_product(costs.begin(), costs.end(), costs.begin(), 0.0), best.squares);
    if (!fits(partition_blocks(blocks, num_stages).begin)) ++num_moved;
  }
  EXPECT_GT(num_refused, 20);
  EXPECT_GT(num_moved, 10);
}

TEST(Partition, AvoidsADearBoundary) {
  const std::vector<double> blocks{1, 1, 1, 1};
  EXPECT_EQ(partition_blocks(blocks, 2).begin, (std::vector<int>{0, 2, 4}));
  const std::vector<double> boundaries{0, 9, 0};
  // A cut elsewhere costs 3; the ties end with the latest one.
  EXPECT_EQ(partition_blocks(blocks, 2, boundaries).begin, (std::vector<int>{0, 3, 4}));
}

TEST(Partition, ManyBlocksAreFast) {
  std::vector<double> blocks(400, 1.0);
  const Partition partition = partition_blocks(blocks, 16);
  for (std::size_t s = 0; s <= 16; ++s) EXPECT_EQ(partition.begin[s], static_cast<int>(25 * s));
}

TEST(Partition, RefusesWhatHasNoAnswer) {
  const std::vector<double> blocks{1, 2};
  EXPECT_THROW(partition_blocks(blocks, 0), UserError);
  EXPECT_THROW(partition_blocks({}, 1), UserError);
  EXPECT_THROW(partition_blocks(std::vector<double>{1, -2}, 1), UserError);
  EXPECT_THROW(partition_blocks(std::vector<double>{1, 0.0 / 0.0}, 1), UserError);
  EXPECT_THROW(partition_blocks(blocks, 1, std::vector<double>{-1}), UserError);
  try {
    partition_blocks(blocks, 3);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("2 blocks for 3 stages"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace triptych::test
