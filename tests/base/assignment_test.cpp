#include "base/assignment.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/reference.h"

namespace triptych::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// How many of the pairs are forbidden, and what the others cost. Fails unless as many pairs as can be are made, with
// each column at most once.
using Total = std::pair<int, double>;
Total total_of(const std::vector<int64_t>& assigned, const std::vector<double>& costs, int64_t rows, int64_t columns) {
  EXPECT_EQ(std::ssize(assigned), rows);
  std::vector<int64_t> made;
  Total total;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t j = assigned[static_cast<std::size_t>(i)];
    if (j == -1) continue;
    EXPECT_TRUE(j >= 0 && j < columns) << j;
    made.push_back(j);
    const double cost = costs[static_cast<std::size_t>(i * columns + j)];
    if (std::abs(cost) < kInfinity) {
      total.second += cost;
    } else {
      ++total.first;
    }
  }
  EXPECT_EQ(std::ssize(made), std::min(rows, columns));
  std::sort(made.begin(), made.end());
  EXPECT_TRUE(std::adjacent_find(made.begin(), made.end()) == made.end());
  return total;
}

// The least of all assignments, tried one by one.
Total exhaustive(const std::vector<double>& costs, int64_t rows, int64_t columns) {
  std::vector<int64_t> places(static_cast<std::size_t>(std::max(rows, columns)));
  std::iota(places.begin(), places.end(), 0);
  Total least{std::numeric_limits<int>::max(), 0};
  do {
    Total total;
    for (int64_t i = 0; i < std::min(rows, columns); ++i) {
      const int64_t other = places[static_cast<std::size_t>(i)];
      const double cost = costs[static_cast<std::size_t>(rows <= columns ? i * columns + other : other * columns + i)];
      if (std::abs(cost) < kInfinity) {
        total.second += cost;
      } else {
        ++total.first;
      }
    }
    least = std::min(least, total);
  } while (std::next_permutation(places.begin(), places.end()));
  return least;
}

TEST(AssignLeastCost, CostsWhatAnotherLibrarySays) {
  const nlohmann::json reference = read_reference("assignment.json");
  ASSERT_EQ(reference.at("matrices").size(), 9u);
  for (const nlohmann::json& matrix : reference["matrices"]) {
    const auto rows = std::ssize(matrix["costs"]), columns = std::ssize(matrix["costs"][0]);
    std::vector<double> costs;
    for (const nlohmann::json& row : matrix["costs"]) costs.insert(costs.end(), row.begin(), row.end());
    EXPECT_EQ(total_of(assign_least_cost(costs, rows, columns), costs, rows, columns), Total(0, matrix["least"]))
        << rows << " x " << columns;
  }
}

// Integers, so that sums are exact: few different ones make ties, and some pairs are forbidden.
TEST(AssignLeastCost, CostsTheLeastOfAllAssignments) {
  std::mt19937 random(5);
  int num_with_forbidden = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const auto rows = static_cast<int64_t>(1 + random() % 6), columns = static_cast<int64_t>(1 + random() % 6);
    const int most = trial % 2 == 0 ? 3 : 1000;
    const unsigned forbidden_in_ten = trial % 4 == 3 ? 6 : trial % 4 == 2 ? 2 : 0;
    std::vector<double> costs;
    for (int64_t i = 0; i < rows * columns; ++i) {
      costs.push_back(static_cast<double>(static_cast<int>(random() % 2000) % (2 * most + 1) - most));
      if (random() % 10 < forbidden_in_ten) costs.back() = std::vector{kNan, kInfinity, -kInfinity}[random() % 3];
    }
    const Total least = exhaustive(costs, rows, columns);
    num_with_forbidden += least.first > 0;
    EXPECT_EQ(total_of(assign_least_cost(costs, rows, columns), costs, rows, columns), least)
        << "trial " << trial << ": " << rows << " x " << columns << ::testing::PrintToString(costs);
  }
  EXPECT_GT(num_with_forbidden, 30);
}

TEST(AssignLeastCost, TakesTheFirstWhereAllCostTheSame) {
  const std::vector<double> costs(6, 0.5);
  EXPECT_EQ(assign_least_cost(costs, 2, 3), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(assign_least_cost(costs, 3, 2), (std::vector<int64_t>{0, 1, -1}));
  for (const double hostile : {kNan, kInfinity, -kInfinity, 1e301}) {
    EXPECT_EQ(assign_least_cost(std::vector<double>(6, hostile), 2, 3), (std::vector<int64_t>{0, 1}));
  }
}

// Row 0 is nearer to both columns; that row 1 then gets the other costs less than each row's own best.
TEST(AssignLeastCost, IsNotGreedy) {
  EXPECT_EQ(assign_least_cost(std::vector<double>{1, 2, 2, 9}, 2, 2), (std::vector<int64_t>{1, 0}));
}

TEST(AssignLeastCost, MakesNoPairOfNothing) {
  EXPECT_TRUE(assign_least_cost({}, 0, 0).empty());
  EXPECT_TRUE(assign_least_cost({}, 0, 3).empty());
  EXPECT_EQ(assign_least_cost({}, 3, 0), (std::vector<int64_t>{-1, -1, -1}));
}

TEST(AssignLeastCost, KeepsLargeCostsApartFromForbiddenOnes) {
  EXPECT_EQ(assign_least_cost(std::vector<double>{1e300, kInfinity, 0, 0}, 2, 2), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(assign_least_cost(std::vector<double>{kNan, 1e300, 1e300, -5}, 2, 2), (std::vector<int64_t>{1, 0}));
}

TEST(AssignLeastCost, RefusesCostsOfAnotherSize) {
  const std::vector<double> costs(6, 0);
  EXPECT_THROW(assign_least_cost(costs, 2, 2), InternalError);
  EXPECT_THROW(assign_least_cost(costs, -2, -3), InternalError);
}

}  // namespace
}  // namespace triptych::test
