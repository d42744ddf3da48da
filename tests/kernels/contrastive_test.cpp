#include "kernels/contrastive.h"

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

/// What a block leaves in place of the dots; `sums` are added to.
std::vector<float> run(Device& device, Block block, const Case& c, const std::vector<float>& dots, double coefficient,
                       ContrastiveSums& sums) {
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
                          .sums = device_sums.data()});
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
