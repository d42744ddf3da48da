#include "kernels/contrastive.h"

#include <limits>

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

Oracle info_nce(const Doubles& dots, std::size_t cols, std::size_t label_begin, double scale, double coefficient) {
  Oracle o;
  for (std::size_t row = 0; row * cols < dots.size(); ++row) {
    const double* d = dots.data() + row * cols;
    const std::size_t label = label_begin + row;
    double max = d[0], total = 0;
    for (std::size_t c = 0; c < cols; ++c) max = std::max(max, d[c]);
    for (std::size_t c = 0; c < cols; ++c) total += std::exp(scale * (d[c] - max));
    o.sums.loss += coefficient * (std::log(total) + scale * (max - d[label]));
    for (std::size_t c = 0; c < cols; ++c) {
      const double p = std::exp(scale * (d[c] - max)) / total - (c == label ? 1 : 0);
      o.ddots.push_back(coefficient * scale * p);
      o.sums.dlog_scale += coefficient * scale * p * d[c];
      o.sums.dlog_scale_magnitude += coefficient * scale * std::abs(p * d[c]);
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

struct Case {
  int64_t rows, cols, label_begin;
  float scale;
};
const std::vector<Case> kCases{{0, 3, 0, 10},   {1, 1, 0, 10},  {1, 7, 6, 1},      {7, 7, 0, 14.3f},
                               {5, 65, 3, 100}, {9, 33, 24, 5}, {67, 257, 100, 30}};

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

using Block = void (*)(Stream& stream, const ContrastiveBlockArgs& args);

/// Which rows and columns are there, and of how many pairs the loss is the mean.
struct Presence {
  std::vector<uint8_t> rows, cols;
  double num_pairs = 0;
};

/// What a block leaves in place of the dots; `sums` are added to.
std::vector<float> run(Device& device, Block block, const Case& c, const std::vector<float>& dots, double coefficient,
                       ContrastiveSums& sums, const Presence* presence = nullptr) {
  const DeviceArray<uint8_t> rows(device, presence == nullptr ? std::vector<uint8_t>() : presence->rows);
  const DeviceArray<uint8_t> cols(device, presence == nullptr ? std::vector<uint8_t>() : presence->cols);
  const DeviceArray<double> num_pairs(device, std::vector{presence == nullptr ? 0.0 : presence->num_pairs});
  DeviceArray<float> device_dots(device, dots);
  const DeviceArray<float> scalars(device, {log_scale_of(c), -10.0f});
  DeviceArray<ContrastiveSums> device_sums(device, {sums});
  block(device.stream(), {.dots = device_dots.data(),
                          .rows = c.rows,
                          .cols = c.cols,
                          .label_begin = c.label_begin,
                          .log_scale = scalars.data(),
                          .bias = scalars.data() + 1,
                          .coefficient = coefficient,
                          .sums = device_sums.data(),
                          .row_present = presence == nullptr ? nullptr : rows.data(),
                          .col_present = presence == nullptr ? nullptr : cols.data(),
                          .num_pairs = presence == nullptr ? nullptr : num_pairs.data()});
  sums = device_sums.host()[0];
  return device_dots.host();
}

TEST(InfoNce, AgreesWithDouble) {
  test::for_devices([](Device& device) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " scale " << c.scale);
      const std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected = info_nce(test::to_doubles(dots), static_cast<std::size_t>(c.cols),
                                       static_cast<std::size_t>(c.label_begin), exact_scale(c), coefficient);
      // Of the sums' own size, so that adding to them loses nothing.
      const ContrastiveSums before{.loss = 2.5 * coefficient, .dlog_scale = -0.5 * coefficient};
      ContrastiveSums sums = before;
      const std::vector<float> ddots = run(device, info_nce_block, c, dots, coefficient, sums);
      expect_sums(sums, expected.sums, before);
      test::expect_close(ddots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
    }
  });
}

TEST(Sigmoid, AgreesWithDoubleWithAndWithoutPairs) {
  test::for_devices([](Device& device) {
    std::vector<Case> cases = kCases;
    cases.push_back({5, 9, 100, 10});  // another rank's block: no pair in it
    cases.push_back({9, 17, -4, 10});  // pairs in some of the rows
    for (const Case& c : cases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " labels from " << c.label_begin);
      const std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected = sigmoid(test::to_doubles(dots), static_cast<std::size_t>(c.cols), c.label_begin,
                                      exact_scale(c), -10.0, coefficient);
      const ContrastiveSums before{.loss = 2.5 * coefficient, .dbias = 0.25 * coefficient};
      ContrastiveSums sums = before;
      const std::vector<float> ddots = run(device, sigmoid_block, c, dots, coefficient, sums);
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
void check_absent(Device& device, Block block, const Case& c, bool any) {
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
  if (!reduced.dots.empty()) {
    expected = block == info_nce_block
                   ? info_nce(reduced.dots, reduced.cols, static_cast<std::size_t>(reduced.label_begin), exact_scale(c),
                              0.37 / 64)
                   : sigmoid(reduced.dots, reduced.cols, reduced.label_begin, exact_scale(c), -10.0, 0.37 / 64);
  }
  Doubles ddots(dots.size(), 0);
  for (std::size_t i = 0; i < reduced.places.size(); ++i) ddots[reduced.places[i]] = expected.ddots[i];
  const ContrastiveSums before{.loss = 2.5 * 0.37 / 64, .dlog_scale = -0.5 * 0.37 / 64};
  ContrastiveSums sums = before;
  const std::vector<float> found = run(device, block, c, dots, 0.37, sums, &presence);
  expect_sums(sums, expected.sums, before);
  test::expect_close(found, ddots, test::tolerance(DType::kFloat32).summed, "dots");
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(is_there[i] || found[i] == 0) << i;
  }
}

TEST(InfoNce, LeavesOutWhatIsAbsent) {
  test::for_devices([](Device& device) {
    std::vector<Case> cases = kCases;
    cases.push_back({7, 33, 5, 0.0001f});  // the least scale that configs allow
    for (const Case& c : cases) {
      for (const bool any : {true, false}) check_absent(device, info_nce_block, c, any);
    }
  });
}

TEST(Sigmoid, LeavesOutWhatIsAbsent) {
  test::for_devices([](Device& device) {
    std::vector<Case> cases = kCases;
    cases.push_back({5, 9, 100, 10});  // another rank's block: no pair in it
    cases.push_back({9, 17, -4, 10});  // pairs in some of the rows
    cases.push_back({7, 33, 5, 0.0001f});
    for (const Case& c : cases) {
      for (const bool any : {true, false}) check_absent(device, sigmoid_block, c, any);
    }
  });
}

/// Of one pair, or none, there is nothing to contrast.
TEST(Contrastive, IsNothingOfFewerThanTwoPairs) {
  test::for_devices([](Device& device) {
    const Case c{4, 9, 3, 10};
    for (const Block block : {info_nce_block, sigmoid_block}) {
      for (const double num_pairs : {0.0, 1.0}) {
        Presence presence{.rows = {0, 1, 0, 0}, .cols = std::vector<uint8_t>(9), .num_pairs = num_pairs};
        presence.cols[4] = 1;
        ContrastiveSums sums{.loss = 2, .dbias = 3};
        const std::vector<float> ddots = run(device, block, c, make_dots(c), 0.5, sums, &presence);
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

/// The same bits whatever was there before the rows, and however often.
TEST(Contrastive, IsDeterministic) {
  test::for_devices([](Device& device) {
    const Case c{67, 257, 100, 30};
    for (const Block block : {info_nce_block, sigmoid_block}) {
      ContrastiveSums first, second;
      EXPECT_TRUE(test::same_bits(run(device, block, c, make_dots(c), 0.5, first),
                                  run(device, block, c, make_dots(c), 0.5, second)));
      EXPECT_EQ(std::memcmp(&first, &second, sizeof(first)), 0);
    }
  });
}

TEST(Contrastive, OracleGradientsAreTheDerivatives) {
  const Case c{3, 5, 1, 4.0f};
  const Doubles dots = test::to_doubles(make_dots(c));
  const Oracle nce = info_nce(dots, 5, 1, 4.0, 1.0), sig = sigmoid(dots, 5, 1, 4.0, -1.5, 1.0);
  const auto close = [](const Doubles& actual, const Doubles& expected) {
    EXPECT_LE(test::relative_error(actual, expected), test::kDifferenceError);
  };
  close(nce.ddots,
        test::central_differences([](const Doubles& at) { return info_nce(at, 5, 1, 4.0, 1.0).sums.loss; }, dots));
  // The derivative by the logarithm of the scale, at its exponential.
  close({nce.sums.dlog_scale},
        test::central_differences(
            [&](const Doubles& at) { return info_nce(dots, 5, 1, std::exp(at[0]), 1.0).sums.loss; }, {std::log(4.0)}));
  close(sig.ddots,
        test::central_differences([](const Doubles& at) { return sigmoid(at, 5, 1, 4.0, -1.5, 1.0).sums.loss; }, dots));
  close({sig.sums.dlog_scale, sig.sums.dbias},
        test::central_differences(
            [&](const Doubles& at) { return sigmoid(dots, 5, 1, std::exp(at[0]), at[1], 1.0).sums.loss; },
            {std::log(4.0), -1.5}));
}

/// A pair far above the others: the loss and 1 - softmax are tiny, and still right in every digit that float32 has.
TEST(InfoNce, KeepsPrecisionWhenThePairIsCertain) {
  test::for_devices([](Device& device) {
    const Case c{1, 3, 0, 100.0f};
    const std::vector<float> dots{1.0f, 0.8f, 0.75f};
    const Oracle expected = info_nce(test::to_doubles(dots), 3, 0, exact_scale(c), 1.0);
    ContrastiveSums sums;
    const std::vector<float> ddots = run(device, info_nce_block, c, dots, 1.0, sums);
    EXPECT_LE(test::relative_error(Doubles{sums.loss}, Doubles{expected.sums.loss}),
              test::tolerance(DType::kFloat32).summed);
    EXPECT_LE(test::relative_error(Doubles{ddots[0]}, Doubles{expected.ddots[0]}),
              test::tolerance(DType::kFloat32).summed);
  });
}

TEST(InfoNce, RefusesALabelThatIsNoColumn) {
  Device device(1);
  const std::vector<float> dots(6);
  ContrastiveSums sums;
  for (const int64_t label_begin : {2, -1}) {
    EXPECT_THROW(run(device, info_nce_block, {2, 3, label_begin, 1.0f}, dots, 1.0, sums), InternalError);
  }
}

}  // namespace
}  // namespace triptych::test
