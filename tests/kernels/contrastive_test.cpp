#include "kernels/contrastive.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using Doubles = std::vector<double>;
using test::DeviceArray;

struct Oracle {
  ContrastiveSums sums;
  Doubles ddots;
};

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

Oracle sigmoid(const Doubles& dots, std::size_t cols, int64_t label_begin, double scale, double bias,
               double coefficient) {
  Oracle o;
  for (std::size_t i = 0; i < dots.size(); ++i) {
    const bool pair = static_cast<int64_t>(i % cols) == label_begin + static_cast<int64_t>(i / cols);
    const double y = pair ? 1 : -1, logit = scale * dots[i] + bias;
    o.sums.loss += coefficient *
                   (-y * logit > 0 ? -y * logit + std::log1p(std::exp(y * logit)) : std::log1p(std::exp(-y * logit)));
    const double d = -y / (1 + std::exp(y * logit));
    o.ddots.push_back(coefficient * scale * d);
    o.sums.dlog_scale += coefficient * scale * d * dots[i];
    o.sums.dlog_scale_magnitude += coefficient * scale * std::abs(d * dots[i]);
    o.sums.dbias += coefficient * d;
    o.sums.dbias_magnitude += coefficient * std::abs(d);
  }
  return o;
}

void expect_scalar(double actual, double expected, double magnitude, const char* what) {
  EXPECT_LE(std::abs(actual - expected), test::tolerance(DType::kFloat32).scalar * magnitude) << what;
}

void expect_sums(const ContrastiveSums& actual, const ContrastiveSums& expected, const ContrastiveSums& before) {
  expect_scalar(actual.loss - before.loss, expected.loss, expected.loss + before.loss, "loss");
  expect_scalar(actual.dlog_scale - before.dlog_scale, expected.dlog_scale, expected.dlog_scale_magnitude,
                "dlog_scale");
  expect_scalar(actual.dlog_scale_magnitude, expected.dlog_scale_magnitude, expected.dlog_scale_magnitude,
                "dlog_scale magnitude");
  expect_scalar(actual.dbias - before.dbias, expected.dbias, expected.dbias_magnitude, "dbias");
  expect_scalar(actual.dbias_magnitude, expected.dbias_magnitude, expected.dbias_magnitude, "dbias magnitude");
}

/// A block of which row r has its own candidate in column label_begin + r, where that is one.
struct Case {
  int64_t rows, cols, label_begin;
  float scale;
};
const std::vector<Case> kCases{{0, 3, 0, 10},      {1, 1, 0, 10},       {1, 7, 6, 1},
                               {7, 7, 0, 14.3f},   {5, 65, 3, 100},     {9, 33, 24, 5},
                               {67, 257, 100, 30}, {7, 33, 5, 0.0001f}, {5, 9, 100, 10},  // without a pair
                               {9, 17, -4, 10}};  // with pairs in some of the rows

/// Cosines, those of pairs nearer to 1, so that the softmax is as sharp as late in training.
std::vector<float> make_dots(const Case& c) {
  std::vector<float> dots = test::normals<float>(c.rows * c.cols, "dots", 0.1, 0.2);
  for (int64_t r = 0; r < c.rows; ++r) {
    const int64_t label = c.label_begin + r;
    if (label >= 0 && label < c.cols) dots[static_cast<std::size_t>(r * c.cols + label)] += 0.6f;
  }
  return dots;
}

/// The scale is given as its logarithm, rounded to float32: the oracle takes the same.
float log_scale_of(const Case& c) {
  return std::log(c.scale);
}
double exact_scale(const Case& c) {
  return std::exp(static_cast<double>(log_scale_of(c)));
}

/// What is there, and of how many pairs the loss is the mean.
struct Presence {
  std::vector<uint8_t> rows, cols;
  double num_pairs = 0;
};

/// Device memory of a call's scalars.
struct Scalars {
  Scalars(Device& device, const Case& c, double weight, const ContrastiveSums& before, const Presence* presence)
      : values(device, {log_scale_of(c), -10.0f}),
        num_pairs(device, std::vector{presence == nullptr ? 0.0 : presence->num_pairs}),
        sums(device, std::vector{before}),
        coefficient(weight),
        has_presence(presence != nullptr) {}
  ContrastiveTerms terms() {
    return {.log_scale = values.data(),
            .bias = values.data() + 1,
            .coefficient = coefficient,
            .num_pairs = has_presence ? num_pairs.data() : nullptr,
            .sums = sums.data()};
  }
  DeviceArray<float> values;
  DeviceArray<double> num_pairs;
  DeviceArray<ContrastiveSums> sums;
  double coefficient;
  bool has_presence;
};

/// What sigmoid_block leaves in place of the dots; `sums` are added to.
std::vector<float> run_sigmoid(Device& device, const Case& c, const std::vector<float>& dots, double coefficient,
                               ContrastiveSums& sums, const Presence* presence = nullptr) {
  const DeviceArray<uint8_t> rows(device, presence == nullptr ? std::vector<uint8_t>() : presence->rows);
  const DeviceArray<uint8_t> cols(device, presence == nullptr ? std::vector<uint8_t>() : presence->cols);
  DeviceArray<float> device_dots(device, dots);
  Scalars scalars(device, c, coefficient, sums, presence);
  ContrastiveBlock block{.dots = device_dots.data(), .rows = c.rows, .cols = c.cols};
  block.first_row = std::max<int64_t>(0, -c.label_begin);
  block.first_col = c.label_begin + block.first_row;
  block.num_own = std::max<int64_t>(0, std::min(c.rows - block.first_row, c.cols - block.first_col));
  if (presence != nullptr) {
    block.row_present = rows.data();
    block.col_present = cols.data();
  }
  sigmoid_block(device.stream(), block, scalars.terms());
  sums = scalars.sums.host()[0];
  return device_dots.host();
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
std::vector<float> run_info_nce(Device& device, const Case& c, const Cuts& cuts, const std::vector<float>& dots,
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

Case square(int64_t n, float scale) {
  return {n, n, 0, scale};
}

struct SquareCase {
  Case of;
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

TEST(Sigmoid, AgreesWithDoubleWithAndWithoutPairs) {
  test::for_devices([](Device& device) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " labels from " << c.label_begin);
      const std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected = sigmoid(test::to_doubles(dots), static_cast<std::size_t>(c.cols), c.label_begin,
                                      exact_scale(c), -10.0, coefficient);
      const ContrastiveSums before{.loss = 2.5 * coefficient, .dbias = 0.25 * coefficient};
      ContrastiveSums sums = before;
      const std::vector<float> ddots = run_sigmoid(device, c, dots, coefficient, sums);
      expect_sums(sums, expected.sums, before);
      test::expect_close(ddots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
    }
  });
}

// ---- Absent rows and columns

/// About two in three, or none; a row whose own candidate is a column is there if that is.
Presence make_presence(const Case& c, bool any) {
  Presence presence;
  for (int64_t col = 0; col < c.cols; ++col) presence.cols.push_back(any && col % 3 != 1 ? 255 : 0);
  for (int64_t row = 0; row < c.rows; ++row) {
    const int64_t label = c.label_begin + row;
    const bool is_col = label >= 0 && label < c.cols;
    presence.rows.push_back(is_col ? presence.cols[static_cast<std::size_t>(label)] : any && row % 2 == 0 ? 1 : 0);
  }
  return presence;
}

/// The block without what is absent: its rows and columns, whose pairs still follow one another, and where they were.
struct Reduced {
  Doubles dots;
  std::size_t cols = 0;
  int64_t label_begin = 0;
  std::vector<std::size_t> places;
};

Reduced reduce(const Case& c, const std::vector<float>& dots, const Presence& presence) {
  Reduced reduced;
  for (int64_t col = 0; col < c.cols; ++col) {
    const bool is_present = presence.cols[static_cast<std::size_t>(col)] != 0;
    reduced.cols += is_present;
    if (col < c.label_begin) reduced.label_begin += is_present;
  }
  for (int64_t row = 0; row < c.rows; ++row) {
    if (presence.rows[static_cast<std::size_t>(row)] == 0) continue;
    if (c.label_begin + row < 0) --reduced.label_begin;
    for (int64_t col = 0; col < c.cols; ++col) {
      if (presence.cols[static_cast<std::size_t>(col)] == 0) continue;
      reduced.places.push_back(static_cast<std::size_t>(row * c.cols + col));
      reduced.dots.push_back(static_cast<double>(dots[reduced.places.back()]));
    }
  }
  return reduced;
}

/// Whatever stands in rows and columns that are absent, such as NaN, a block is that of the others.
/// `run(dots, presence, sums)` gives the gradients, `oracle(reduced)` what is expected of those that are there.
template <typename Run, typename MakeOracle>
void check_absent(const Case& c, bool any, const Run& run, const MakeOracle& oracle) {
  SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " labels from " << c.label_begin << " scale "
                                  << c.scale << (any ? "" : ", none"));
  Presence presence = make_presence(c, any);
  presence.num_pairs = 64;
  std::vector<float> dots = make_dots(c);
  const Reduced reduced = reduce(c, dots, presence);
  std::vector<bool> is_there(dots.size());
  for (const std::size_t place : reduced.places) is_there[place] = true;
  for (std::size_t i = 0; i < dots.size(); ++i) {
    if (!is_there[i]) dots[i] = std::numeric_limits<float>::quiet_NaN();
  }
  Oracle expected;
  if (!reduced.dots.empty()) expected = oracle(reduced);
  Doubles ddots(dots.size(), 0);
  for (std::size_t i = 0; i < reduced.places.size(); ++i) ddots[reduced.places[i]] = expected.ddots[i];
  const ContrastiveSums before{.loss = 2.5 * 0.37 / 64, .dlog_scale = -0.5 * 0.37 / 64};
  ContrastiveSums sums = before;
  const std::vector<float> found = run(dots, presence, sums);
  expect_sums(sums, expected.sums, before);
  test::expect_close(found, ddots, test::tolerance(DType::kFloat32).summed, "dots");
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(is_there[i] || found[i] == 0) << i;
  }
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

TEST(Sigmoid, LeavesOutWhatIsAbsent) {
  test::for_devices([](Device& device) {
    for (const Case& c : kCases) {
      for (const bool any : {true, false}) {
        check_absent(
            c, any,
            [&](const std::vector<float>& dots, const Presence& presence, ContrastiveSums& sums) {
              return run_sigmoid(device, c, dots, 0.37, sums, &presence);
            },
            [&](const Reduced& reduced) {
              return sigmoid(reduced.dots, reduced.cols, reduced.label_begin, exact_scale(c), -10.0, 0.37 / 64);
            });
      }
    }
  });
}

/// Of one pair, or none, there is nothing to contrast.
TEST(Contrastive, IsNothingOfFewerThanTwoPairs) {
  test::for_devices([](Device& device) {
    const Case c = square(5, 10);
    for (const bool is_sigmoid : {false, true}) {
      for (const double num_pairs : {0.0, 1.0}) {
        const auto one = static_cast<uint8_t>(num_pairs);
        const Presence presence{.rows = {0, 0, one, 0, 0}, .cols = {0, 0, one, 0, 0}, .num_pairs = num_pairs};
        ContrastiveSums sums{.loss = 2, .dbias = 3};
        const std::vector<float> ddots =
            is_sigmoid ? run_sigmoid(device, c, make_dots(c), 0.5, sums, &presence)
                       : run_info_nce(device, c, {{0, 2}, {0, 3}, 2}, make_dots(c), 0.5, sums, &presence);
        for (const float d : ddots) EXPECT_EQ(d, 0);
        EXPECT_EQ(sums.loss, 2);
        EXPECT_EQ(sums.dlog_scale, 0);
        EXPECT_EQ(sums.dlog_scale_magnitude, 0);
        EXPECT_EQ(sums.dbias, 3);
        EXPECT_EQ(sums.dbias_magnitude, 0);
      }
    }
  });
}

/// The same bits whatever was there before, and however often.
TEST(Contrastive, IsDeterministic) {
  test::for_devices([](Device& device) {
    const Case c = square(67, 30);
    const Cuts cuts{{0, 33}, {0, 1, 50}, 1};
    ContrastiveSums first, second;
    EXPECT_TRUE(test::same_bits(run_sigmoid(device, c, make_dots(c), 0.5, first),
                                run_sigmoid(device, c, make_dots(c), 0.5, second)));
    EXPECT_TRUE(test::same_bits(run_info_nce(device, c, cuts, make_dots(c), 0.5, first),
                                run_info_nce(device, c, cuts, make_dots(c), 0.5, second)));
    EXPECT_EQ(std::memcmp(&first, &second, sizeof(first)), 0);
  });
}

TEST(Contrastive, OracleGradientsAreTheDerivatives) {
  const Doubles dots = test::to_doubles(make_dots({3, 5, 1, 4.0f})), square_dots(dots.begin(), dots.begin() + 9);
  const Oracle nce = info_nce(square_dots, 3, 4.0, 1.0), sig = sigmoid(dots, 5, 1, 4.0, -1.5, 1.0);
  const auto close = [](const Doubles& actual, const Doubles& expected) {
    EXPECT_LE(test::relative_error(actual, expected), test::kDifferenceError);
  };
  close(nce.ddots,
        test::central_differences([](const Doubles& at) { return info_nce(at, 3, 4.0, 1.0).sums.loss; }, square_dots));
  // The derivative by the logarithm of the scale, at its exponential.
  close({nce.sums.dlog_scale},
        test::central_differences(
            [&](const Doubles& at) { return info_nce(square_dots, 3, std::exp(at[0]), 1.0).sums.loss; },
            {std::log(4.0)}));
  close(sig.ddots,
        test::central_differences([](const Doubles& at) { return sigmoid(at, 5, 1, 4.0, -1.5, 1.0).sums.loss; }, dots));
  close({sig.sums.dlog_scale, sig.sums.dbias},
        test::central_differences(
            [&](const Doubles& at) { return sigmoid(dots, 5, 1, std::exp(at[0]), at[1], 1.0).sums.loss; },
            {std::log(4.0), -1.5}));
}

/// Pairs far above the others: the loss and 1 - softmax are tiny, and still right in every digit that float32 has.
TEST(InfoNce, KeepsPrecisionWhenThePairIsCertain) {
  test::for_devices([](Device& device) {
    const Case c = square(3, 100.0f);
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

TEST(Contrastive, RefusesPairsThatAreNotInTheBlock) {
  Device device(1);
  DeviceArray<float> values(device, std::vector<float>(40));
  DeviceArray<ContrastiveSums> sums(device, std::vector<ContrastiveSums>(1));
  float* const data = values.data();
  const ContrastiveTerms terms{.log_scale = data, .bias = data, .sums = sums.data()};
  for (const auto& [row, col] : {std::pair<int64_t, int64_t>{1, 0}, {-1, 0}, {0, 2}, {0, -1}}) {
    const ContrastiveBlock block{.dots = data, .rows = 2, .cols = 3, .first_row = row, .first_col = col, .num_own = 2};
    EXPECT_THROW(sigmoid_block(device.stream(), block, terms), InternalError);
    const InfoNceStatistics statistics{data + 10, data + 20, data + 30};
    EXPECT_THROW(info_nce_statistics(device.stream(), block, terms, statistics, statistics), InternalError);
    const InfoNceSoftmax softmax{data + 10, data + 20, data + 30};
    EXPECT_THROW(info_nce_gradients(device.stream(), block, terms, softmax, softmax), InternalError);
  }
}

}  // namespace
}  // namespace triptych::test
