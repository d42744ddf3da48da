#include "training/cluster.h"

#include <numeric>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

// 4 devices a node; 10 GB/s within and 2 GB/s between, so that a GB takes 0.1 s and 0.5 s.
Cluster cluster() {
  Cluster result;
  result.devices_per_node = 4;
  result.node = {.gb_per_s = 10, .latency_us = 0};
  result.network = {.gb_per_s = 2, .latency_us = 0};
  return result;
}

WorkLog::Operation operation(const std::string& kind, std::vector<int> ranks, double bytes = 1e9) {
  return {.group = "dp", .kind = kind, .bytes = bytes, .world_ranks = std::move(ranks)};
}

std::vector<int> ranks_from(int first, int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), first);
  return ranks;
}

TEST(Cluster, WithinANodeRingsTakeTheirShareOfTheBytes) {
  const std::vector<int> node = ranks_from(4, 4);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("all_reduce", node)), 2 * 0.75 * 0.1);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("all_gather", node)), 0.75 * 0.1);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("reduce_scatter", node)), 0.75 * 0.1);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("all_to_all", node)), 0.75 * 0.1);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("broadcast", node)), 0.1);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("send", {4, 7})), 0.1);
  EXPECT_TRUE(cluster().is_within_node(operation("send", {4, 7})));
  EXPECT_FALSE(cluster().is_within_node(operation("send", {3, 4})));
}

TEST(Cluster, RanksOfANodeShareWhatItSendsToOthers) {
  // Two nodes: each sends the bytes of one all-reduce, a quarter from each device, which is slower than 2 * 3/4 within.
  const std::vector<int> nodes = ranks_from(0, 8);
  Cluster slow = cluster();
  slow.network.gb_per_s = 1;
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_reduce", nodes)), 2 * 0.5 / 4 * 1.0);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_gather", nodes)), 0.5 / 4 * 1.0);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("broadcast", nodes)), 1.0 / 4);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_to_all", nodes)), 4.0 / 8 * 1.0);
  // A fast network: what goes on within the nodes counts.
  Cluster fast = cluster();
  fast.network.gb_per_s = 100;
  EXPECT_DOUBLE_EQ(fast.seconds(operation("all_reduce", nodes)), 2 * 0.75 * 0.1);
  // One rank a node has nobody to share with; three on one and one on another neither.
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("all_reduce", {0, 4, 8, 12})), 2 * 0.75 * 0.5);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("all_reduce", {1, 2, 3, 4})), 2 * 0.5 * 0.5);
  EXPECT_DOUBLE_EQ(cluster().seconds(operation("recv", {3, 4})), 0.5);
}

TEST(Cluster, LatenciesAreThoseOfBothLevels) {
  Cluster slow = cluster();
  slow.node.latency_us = 1;
  slow.network.latency_us = 100;
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_reduce", ranks_from(0, 4), 0)), 4e-6);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_reduce", ranks_from(0, 32), 0)), 4e-6 + 6e-4);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("all_gather", ranks_from(0, 32), 0)), 2e-6 + 3e-4);
  EXPECT_DOUBLE_EQ(slow.seconds(operation("send", {0, 9}, 0)), 1e-4);
}

}  // namespace
}  // namespace triptych::test
