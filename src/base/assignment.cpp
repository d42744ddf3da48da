#include "base/assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace triptych::base {
namespace {

constexpr double kLargest = 1e300;

bool is_forbidden(double cost) {
  return !(std::abs(cost) <= kLargest);
}

// A sum of costs in which forbidden pairs weigh more than any number of others; also a difference of such sums.
struct GuardedCost {
  double forbidden = 0;  // whole
  double rest = 0;
  GuardedCost& operator+=(const GuardedCost& other) {
    forbidden += other.forbidden;
    rest += other.rest;
    return *this;
  }
  friend GuardedCost operator+(GuardedCost a, const GuardedCost& b) { return a += b; }
  friend GuardedCost operator-(const GuardedCost& a, const GuardedCost& b) {
    return {a.forbidden - b.forbidden, a.rest - b.rest};
  }
  auto operator<=>(const GuardedCost&) const = default;
};

template <typename Cost>
Cost cost_of(double cost) {
  if constexpr (std::is_same_v<Cost, double>) {
    return cost;
  } else {
    return is_forbidden(cost) ? Cost{1, 0} : Cost{0, cost};
  }
}

// Of every row its column; costs [num_rows, num_columns] with num_rows <= num_columns.
template <typename Cost>
std::vector<std::size_t> assign_rows(const std::vector<Cost>& costs, std::size_t num_rows, std::size_t num_columns) {
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  // cost(i, j) - row_dual[i] - column_dual[j] is never negative, and 0 for the pairs made so far.
  std::vector<Cost> row_dual(num_rows), column_dual(num_columns), distance(num_columns);
  std::vector<std::size_t> row_of(num_columns, kNone), column_of(num_rows, kNone), row_before(num_columns);
  std::vector<std::size_t> open(num_columns), closed;
  for (std::size_t start = 0; start < num_rows; ++start) {
    // Dijkstra's shortest path from the row to a free column, by way of pairs made so far.
    open.resize(num_columns);
    for (std::size_t j = 0; j < num_columns; ++j) open[j] = j;
    std::fill(row_before.begin(), row_before.end(), kNone);
    closed.clear();
    std::size_t row = start, last = kNone;
    Cost length{};
    while (last == kNone) {
      std::size_t nearest = kNone;  // in `open`, which stays in ascending order
      for (std::size_t k = 0; k < open.size(); ++k) {
        const std::size_t j = open[k];
        const Cost through = length + (costs[row * num_columns + j] - row_dual[row] - column_dual[j]);
        if (row_before[j] == kNone || through < distance[j]) {
          distance[j] = through;
          row_before[j] = row;
        }
        // Of equally near columns a free one, since it ends the search; of these the first.
        if (nearest == kNone || distance[j] < distance[open[nearest]] ||
            (row_of[j] == kNone && row_of[open[nearest]] != kNone && !(distance[open[nearest]] < distance[j]))) {
          nearest = k;
        }
      }
      const std::size_t column = open[nearest];
      length = distance[column];
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(nearest));
      if (row_of[column] == kNone) {
        last = column;
      } else {
        closed.push_back(column);
        row = row_of[column];
      }
    }
    row_dual[start] += length;
    for (const std::size_t j : closed) {
      row_dual[row_of[j]] += length - distance[j];
      column_dual[j] += distance[j] - length;
    }
    for (std::size_t column = last; column != kNone;) {
      const std::size_t i = row_before[column];
      row_of[column] = i;
      std::swap(column, column_of[i]);
    }
  }
  return column_of;
}

template <typename Cost>
std::vector<int64_t> assign_as(std::span<const double> costs, std::size_t num_rows, std::size_t num_columns) {
  const bool is_tall = num_rows > num_columns;
  std::vector<Cost> wide(costs.size());
  for (std::size_t i = 0; i < num_rows; ++i) {
    for (std::size_t j = 0; j < num_columns; ++j) {
      wide[is_tall ? j * num_rows + i : i * num_columns + j] = cost_of<Cost>(costs[i * num_columns + j]);
    }
  }
  const std::vector<std::size_t> found =
      is_tall ? assign_rows(wide, num_columns, num_rows) : assign_rows(wide, num_rows, num_columns);
  std::vector<int64_t> column_of(num_rows, -1);
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (is_tall) {
      column_of[found[i]] = static_cast<int64_t>(i);
    } else {
      column_of[i] = static_cast<int64_t>(found[i]);
    }
  }
  return column_of;
}

}  // namespace

std::vector<int64_t> assign_least_cost(std::span<const double> costs, int64_t num_rows, int64_t num_columns) {
  TRIPTYCH_CHECK(num_rows >= 0 && num_columns >= 0 && std::ssize(costs) == num_rows * num_columns,
                 "{} costs of {} rows and {} columns", costs.size(), num_rows, num_columns);
  const auto rows = static_cast<std::size_t>(num_rows), columns = static_cast<std::size_t>(num_columns);
  return std::any_of(costs.begin(), costs.end(), is_forbidden) ? assign_as<GuardedCost>(costs, rows, columns)
                                                               : assign_as<double>(costs, rows, columns);
}

}  // namespace triptych::base
