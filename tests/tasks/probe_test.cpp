#include "tasks/probe.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "support/tolerance.h"

namespace triptych::test {
namespace {

TEST(Probe, ShotsAreOfEachClassWithoutReplacementAndOfTheirDraw) {
  std::vector<int32_t> labels;
  for (int i = 0; i < 60; ++i) labels.push_back(i % 4 == 3 ? 7 : i % 4);  // 15 of each of four
  labels.push_back(9);                                                    // and one alone
  std::set<std::vector<int64_t>> draws;
  for (int64_t draw = 0; draw < 8; ++draw) {
    const std::vector<int64_t> rows = draw_shots(labels, 3, 11, draw);
    EXPECT_EQ(std::set<int64_t>(rows.begin(), rows.end()).size(), rows.size());
    std::map<int32_t, int> count;
    for (const int64_t row : rows) ++count[labels.at(static_cast<std::size_t>(row))];
    EXPECT_EQ(count, (std::map<int32_t, int>{{0, 3}, {1, 3}, {2, 3}, {7, 3}, {9, 1}}));
    EXPECT_EQ(draw_shots(labels, 3, 11, draw), rows);
    draws.insert(rows);
  }
  EXPECT_EQ(draws.size(), 8u) << "of 455^4 there are no two alike";
  EXPECT_NE(draw_shots(labels, 3, 12, 0), draw_shots(labels, 3, 11, 0));
  EXPECT_EQ(draw_shots(labels, 100, 11, 0).size(), labels.size());
}

TEST(Probe, DrawsAreToldByTheirMeanAndDeviation) {
  // Of 2, 4, 4, 4, 5, 5, 7, 9: 5, and the root of 32 / 7.
  const MeanAndDeviation found = mean_and_deviation({2, 4, 4, 4, 5, 5, 7, 9});
  EXPECT_NEAR(found.mean, 5, kBetweenDoubles);
  EXPECT_NEAR(found.deviation, std::sqrt(32.0 / 7), kBetweenDoubles);
  EXPECT_EQ(mean_and_deviation({0.25}).mean, 0.25);
  EXPECT_EQ(mean_and_deviation({0.25}).deviation, 0);
}

}  // namespace
}  // namespace triptych::test
