#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/error.h"
#include "contrastive_cases.h"
#include "kernel_support.h"
#include "kernels/contrastive.h"

// The softmax of a batch of pairs in both directions, in blocks that ranks share.

namespace triptych::test {
namespace {

/// Of a square matrix of similarities, in both directions: element (i, i) is a pair's.
Oracle info_nce(const Doubles& dots, std::size_t n, double scale, double coefficient) {
  Oracle o;
  o.ddots.assign(n * n, 0);
  for (const bool transposed : {false, true}) {
    const auto at = [&](std::size_t row, std::size_t c) { return transposed ? c * n + row : row * n + c; };
    for (std::size_t row = 0; row < n; ++row) {
      double max = dots[at(row, 0)], total = 0;
      for (std::size_t c = 0; c < n; ++c) max = std::max(max, dots[at(row, c)]);
      for (std::size_t c = 0; c < n; ++c) total += std::exp(scale * (dots[at(row, c)] - max));
      o.sums.loss += coefficient * (std::log(total) + scale * (max - dots[at(row, row)]));
      for (std::size_t c = 0; c < n; ++c) {
        const double dot = dots[at(row, c)], p = std::exp(scale * (dot - max)) / total - (c == row ? 1 : 0);
        o.ddots[at(row, c)] += coefficient * scale * p;
        o.sums.dlog_scale += coefficient * scale * p * dot;
        o.sums.dlog_scale_magnitude += coefficient * scale * std::abs(p * dot);
      }
    }
  }
  return o;
}

/// A square matrix, cut into blocks, which so many ranks meet in turn: those of a row, and those of a column.
struct Cuts {
  std::vector<int64_t> rows, cols;  // where a block begins
  int num_ranks = 1;
};

/// Statistics of all rows or all columns, on every rank.
class RankStatistics {
 public:
  RankStatistics(Device& device, int64_t n, int num_ranks) : device_(device), n_(n) {
    const float lowest = std::numeric_limits<float>::lowest();
    std::vector<float> start(static_cast<std::size_t>(3 * n), lowest);
    std::fill(start.begin() + 2 * n, start.end(), 0.0f);
    for (int rank = 0; rank < num_ranks; ++rank) {
      arrays_.push_back(std::make_unique<DeviceArray<float>>(device, start));
    }
  }
  InfoNceStatistics from(std::size_t number, int64_t i) const {
    float* const data = arrays_[number % arrays_.size()]->data() + i;
    return {data, data + n_, data + 2 * n_};
  }
  /// Leaves on the first rank what all have, as the header says.
  void combine(const float* log_scale) {
    const auto n = static_cast<std::size_t>(n_);
    std::vector<float> all = arrays_[0]->host();
    for (const auto& array : arrays_) {
      const std::vector<float> one = array->host();
      for (std::size_t i = 0; i < 2 * n; ++i) all[i] = std::max(all[i], one[i]);
    }
    const DeviceArray<float> largest(device_, all);
    std::fill(all.begin() + 2 * n_, all.end(), 0.0f);
    for (std::size_t rank = 0; rank < arrays_.size(); ++rank) {
      info_nce_rescale(device_.stream(), log_scale, from(rank, 0), largest.data(), n_);
      const std::vector<float> one = arrays_[rank]->host();
      for (std::size_t i = 2 * n; i < 3 * n; ++i) all[i] += one[i];
    }
    arrays_[0] = std::make_unique<DeviceArray<float>>(device_, all);
  }

 private:
  Device& device_;
  int64_t n_;
  std::vector<std::unique_ptr<DeviceArray<float>>> arrays_;
};

/// The gradients of all dots, cols = rows and label_begin = 0; `sums` are added to.
std::vector<float> run_info_nce(Device& device, const BlockCase& c, const Cuts& cuts, const std::vector<float>& dots,
                                double coefficient, ContrastiveSums& sums, const Presence* presence = nullptr) {
  const int64_t n = c.rows;
  const DeviceArray<uint8_t> present(device, presence == nullptr ? std::vector<uint8_t>() : presence->rows);
  const auto flags = [&](int64_t i) { return presence == nullptr ? nullptr : present.data() + i; };
  Scalars scalars(device, c, coefficient, sums, presence);
  const ContrastiveTerms terms = scalars.terms();
  RankStatistics of_rows(device, n, cuts.num_ranks), of_cols(device, n, cuts.num_ranks);
  const DeviceArray<float> softmax_of_rows(device, 3 * n), softmax_of_cols(device, 3 * n);
  const auto softmax = [&](const DeviceArray<float>& array, int64_t i) {
    float* const data = const_cast<float*>(array.data()) + i;
    return InfoNceSoftmax{data, data + n, data + 2 * n};
  };

  std::vector<float> result(dots.size());
  const auto for_blocks = [&](const auto& visit) {
    for (std::size_t i = 0; i < cuts.rows.size(); ++i) {
      for (std::size_t j = 0; j < cuts.cols.size(); ++j) {
        const int64_t row = cuts.rows[i], col = cuts.cols[j];
        const int64_t rows = (i + 1 < cuts.rows.size() ? cuts.rows[i + 1] : n) - row;
        const int64_t cols = (j + 1 < cuts.cols.size() ? cuts.cols[j + 1] : n) - col;
        std::vector<float> part;
        for (int64_t r = row; r < row + rows; ++r) {
          for (int64_t k = col; k < col + cols; ++k) part.push_back(dots[static_cast<std::size_t>(r * n + k)]);
        }
        DeviceArray<float> device_dots(device, part);
        const int64_t first = std::max(row, col), end = std::min(row + rows, col + cols);
        ContrastiveBlock block{.dots = device_dots.data(), .rows = rows, .cols = cols};
        block.row_present = flags(row);
        block.col_present = flags(col);
        if (first < end) {
          block.first_row = first - row;
          block.first_col = first - col;
          block.num_own = end - first;
        }
        visit(block, i, j, row, col);
        part = device_dots.host();
        for (int64_t r = 0; r < rows; ++r) {
          std::copy_n(part.begin() + r * cols, cols, result.begin() + (row + r) * n + col);
        }
      }
    }
  };
  for_blocks([&](const ContrastiveBlock& block, std::size_t i, std::size_t j, int64_t row, int64_t col) {
    info_nce_statistics(device.stream(), block, terms, of_rows.from(j, row), of_cols.from(i, col));
  });
  of_rows.combine(terms.log_scale);
  of_cols.combine(terms.log_scale);
  // The loss is counted in two parts, which two ranks may do.
  const auto finish = [&](const RankStatistics& statistics, const DeviceArray<float>& array, int64_t begin,
                          int64_t count) {
    info_nce_softmax(device.stream(),
                     {.statistics = statistics.from(0, 0),
                      .n = n,
                      .present = flags(0),
                      .softmax = softmax(array, 0),
                      .counted_begin = begin,
                      .num_counted = count},
                     terms);
  };
  finish(of_rows, softmax_of_rows, 0, n);
  finish(of_cols, softmax_of_cols, 0, n / 3);
  finish(of_cols, softmax_of_cols, n / 3, n - n / 3);
  for_blocks([&](const ContrastiveBlock& block, std::size_t, std::size_t, int64_t row, int64_t col) {
    info_nce_gradients(device.stream(), block, terms, softmax(softmax_of_rows, row), softmax(softmax_of_cols, col));
  });
  sums = scalars.sums.host()[0];
  return result;
}

BlockCase square(int64_t n, float scale) {
  return {n, n, 0, scale};
}

struct SquareCase {
  BlockCase of;
  Cuts cuts;
};
const std::vector<SquareCase> kSquares{
    {square(1, 10), {{0}, {0}, 1}},
    {square(7, 14.3f), {{0}, {0}, 1}},
    {square(7, 14.3f), {{0, 3}, {0, 2, 4, 6}, 2}},
    {square(33, 100), {{0, 5, 17}, {0, 16}, 2}},
    {square(67, 30), {{0, 33}, {0, 1, 50}, 3}},  // one rank has no block of rows
    {square(9, 0.0001f), {{0, 4}, {0, 4}, 2}},   // the least scale that configs allow
};

TEST(InfoNce, AgreesWithDouble) {
  test::for_devices([](Device& device) {
    for (const auto& [c, cuts] : kSquares) {
      SCOPED_TRACE(testing::Message() << c.rows << " scale " << c.scale << " ranks " << cuts.num_ranks);
      const std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected =
          info_nce(test::to_doubles(dots), static_cast<std::size_t>(c.rows), exact_scale(c), coefficient);
      // Of the sums' own size, so that adding to them loses nothing.
      const ContrastiveSums before{.loss = 2.5 * coefficient, .dlog_scale = -0.5 * coefficient};
      ContrastiveSums sums = before;
      const std::vector<float> ddots = run_info_nce(device, c, cuts, dots, coefficient, sums);
      expect_sums(sums, expected.sums, before);
      test::expect_close(ddots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
    }
  });
}

TEST(InfoNce, LeavesOutWhatIsAbsent) {
  test::for_devices([](Device& device) {
    for (const SquareCase& square : kSquares) {
      for (const bool any : {true, false}) {
        check_absent(
            square.of, any,
            [&](const std::vector<float>& dots, const Presence& presence, ContrastiveSums& sums) {
              return run_info_nce(device, square.of, square.cuts, dots, 0.37, sums, &presence);
            },
            [&](const Reduced& reduced) {
              return info_nce(reduced.dots, reduced.cols, exact_scale(square.of), 0.37 / 64);
            });
      }
    }
  });
}

/// Of one pair, or none, there is nothing to contrast.
TEST(InfoNce, IsNothingOfFewerThanTwoPairs) {
  test::for_devices([](Device& device) {
    const BlockCase c = square(5, 10);
    expect_nothing_of_fewer_than_two_pairs([&](const Presence& presence, ContrastiveSums& sums) {
      return run_info_nce(device, c, {{0, 2}, {0, 3}, 2}, make_dots(c), 0.5, sums, &presence);
    });
  });
}

/// The same bits whatever was there before, and however often.
TEST(InfoNce, IsDeterministic) {
  test::for_devices([](Device& device) {
    const BlockCase c = square(67, 30);
    ContrastiveSums first, second;
    EXPECT_TRUE(test::same_bits(run_info_nce(device, c, {{0, 33}, {0, 1, 50}, 1}, make_dots(c), 0.5, first),
                                run_info_nce(device, c, {{0, 33}, {0, 1, 50}, 1}, make_dots(c), 0.5, second)));
    EXPECT_EQ(std::memcmp(&first, &second, sizeof(first)), 0);
  });
}

TEST(InfoNce, OracleGradientsAreTheDerivatives) {
  Doubles dots = test::to_doubles(make_dots({3, 5, 1, 4.0f}));
  dots.resize(9);
  const Oracle nce = info_nce(dots, 3, 4.0, 1.0);
  const auto close = [](const Doubles& actual, const Doubles& expected) {
    EXPECT_LE(test::relative_error(actual, expected), test::kDifferenceError);
  };
  close(nce.ddots,
        test::central_differences([](const Doubles& at) { return info_nce(at, 3, 4.0, 1.0).sums.loss; }, dots));
  // The derivative by the logarithm of the scale, at its exponential.
  close({nce.sums.dlog_scale},
        test::central_differences([&](const Doubles& at) { return info_nce(dots, 3, std::exp(at[0]), 1.0).sums.loss; },
                                  {std::log(4.0)}));
}

/// Pairs far above the others: the loss and 1 - softmax are tiny, and still right in every digit that float32 has.
TEST(InfoNce, KeepsPrecisionWhenThePairIsCertain) {
  test::for_devices([](Device& device) {
    const BlockCase c = square(3, 100.0f);
    const std::vector<float> dots{1.0f, 0.8f, 0.75f, 0.7f, 0.95f, 0.78f, 0.81f, 0.72f, 0.99f};
    const Oracle expected = info_nce(test::to_doubles(dots), 3, exact_scale(c), 1.0);
    for (const Cuts& cuts : {Cuts{{0}, {0}, 1}, Cuts{{0, 2}, {0, 1}, 2}}) {
      ContrastiveSums sums;
      const std::vector<float> ddots = run_info_nce(device, c, cuts, dots, 1.0, sums);
      EXPECT_LE(test::relative_error(Doubles{sums.loss}, Doubles{expected.sums.loss}),
                test::tolerance(DType::kFloat32).summed);
      for (std::size_t i = 0; i < dots.size(); ++i) {
        EXPECT_LE(test::relative_error(Doubles{ddots[i]}, Doubles{expected.ddots[i]}),
                  test::tolerance(DType::kFloat32).summed)
            << i;
      }
    }
  });
}

TEST(InfoNce, RefusesPairsThatAreNotInTheBlock) {
  Device device(1);
  DeviceArray<float> values(device, std::vector<float>(40));
  DeviceArray<ContrastiveSums> sums(device, std::vector<ContrastiveSums>(1));
  float* const data = values.data();
  const ContrastiveTerms terms{.log_scale = data, .bias = data, .sums = sums.data()};
  for (const auto& [row, col] : {std::pair<int64_t, int64_t>{1, 0}, {-1, 0}, {0, 2}, {0, -1}}) {
    const ContrastiveBlock block{.dots = data, .rows = 2, .cols = 3, .first_row = row, .first_col = col, .num_own = 2};
    const InfoNceStatistics statistics{data + 10, data + 20, data + 30};
    EXPECT_THROW(info_nce_statistics(device.stream(), block, terms, statistics, statistics), InternalError);
    const InfoNceSoftmax softmax{data + 10, data + 20, data + 30};
    EXPECT_THROW(info_nce_gradients(device.stream(), block, terms, softmax, softmax), InternalError);
  }
}
}  // namespace
}  // namespace triptych::test
