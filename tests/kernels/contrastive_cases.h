#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernel_support.h"
#include "kernels/contrastive.h"

// Blocks of dot products, whole and with absent rows and columns, for the tests of both contrastive losses.

namespace triptych::test {

using Doubles = std::vector<double>;

/// What a loss should come to, by loops in double.
struct Oracle {
  ContrastiveSums sums;
  Doubles ddots;
};

inline void expect_scalar(double actual, double expected, double magnitude, const char* what) {
  EXPECT_LE(std::abs(actual - expected), test::tolerance(DType::kFloat32).scalar * magnitude) << what;
}

inline void expect_sums(const ContrastiveSums& actual, const ContrastiveSums& expected, const ContrastiveSums& before) {
  expect_scalar(actual.loss - before.loss, expected.loss, expected.loss + before.loss, "loss");
  expect_scalar(actual.dlog_scale - before.dlog_scale, expected.dlog_scale, expected.dlog_scale_magnitude,
                "dlog_scale");
  expect_scalar(actual.dlog_scale_magnitude, expected.dlog_scale_magnitude, expected.dlog_scale_magnitude,
                "dlog_scale magnitude");
  expect_scalar(actual.dbias - before.dbias, expected.dbias, expected.dbias_magnitude, "dbias");
  expect_scalar(actual.dbias_magnitude, expected.dbias_magnitude, expected.dbias_magnitude, "dbias magnitude");
}

/// A block of which row r has its own candidate in column label_begin + r, where that is one.
struct BlockCase {
  int64_t rows, cols, label_begin;
  float scale;
};

/// Cosines, those of pairs nearer to 1, so that the softmax is as sharp as late in training.
inline std::vector<float> make_dots(const BlockCase& c) {
  std::vector<float> dots = test::normals<float>(c.rows * c.cols, "dots", 0.1, 0.2);
  for (int64_t r = 0; r < c.rows; ++r) {
    const int64_t label = c.label_begin + r;
    if (label >= 0 && label < c.cols) dots[static_cast<std::size_t>(r * c.cols + label)] += 0.6f;
  }
  return dots;
}

/// The scale is given as its logarithm, rounded to float32: the oracle takes the same.
inline float log_scale_of(const BlockCase& c) {
  return std::log(c.scale);
}
inline double exact_scale(const BlockCase& c) {
  return std::exp(static_cast<double>(log_scale_of(c)));
}

/// What is there, and of how many pairs the loss is the mean.
struct Presence {
  std::vector<uint8_t> rows, cols;
  double num_pairs = 0;
};

/// Device memory of a call's scalars.
struct Scalars {
  Scalars(Device& device, const BlockCase& c, double weight, const ContrastiveSums& before, const Presence* presence)
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

// ---- Absent rows and columns

/// About two in three, or none; a row whose own candidate is a column is there if that is.
inline Presence make_presence(const BlockCase& c, bool any) {
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

inline Reduced reduce(const BlockCase& c, const std::vector<float>& dots, const Presence& presence) {
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
void check_absent(const BlockCase& c, bool any, const Run& run, const MakeOracle& oracle) {
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

/// What `run` gives of five rows and columns, of which one pair or none is there, is no gradient, and adds nothing to
/// the sums.
template <typename Run>
void expect_nothing_of_fewer_than_two_pairs(const Run& run) {
  for (const double num_pairs : {0.0, 1.0}) {
    const auto one = static_cast<uint8_t>(num_pairs);
    const Presence presence{.rows = {0, 0, one, 0, 0}, .cols = {0, 0, one, 0, 0}, .num_pairs = num_pairs};
    ContrastiveSums sums{.loss = 2, .dbias = 3};
    const std::vector<float> ddots = run(presence, sums);
    for (const float d : ddots) EXPECT_EQ(d, 0);
    EXPECT_EQ(sums.loss, 2);
    EXPECT_EQ(sums.dlog_scale, 0);
    EXPECT_EQ(sums.dlog_scale_magnitude, 0);
    EXPECT_EQ(sums.dbias, 3);
    EXPECT_EQ(sums.dbias_magnitude, 0);
  }
}

}  // namespace triptych::test
