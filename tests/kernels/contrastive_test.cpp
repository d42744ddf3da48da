#include "kernels/contrastive.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych {
namespace {

using Doubles = std::vector<double>;

struct Sums {
  double loss = 0, dscale = 0, dscale_magnitude = 0, dbias = 0, dbias_magnitude = 0;
  ContrastiveSums pointers() { return {&loss, &dscale, &dscale_magnitude, &dbias, &dbias_magnitude}; }
};

struct Oracle {
  Sums sums;
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
    o.sums.loss += std::log(total) + scale * (max - d[label]);
    for (std::size_t c = 0; c < cols; ++c) {
      const double p = std::exp(scale * (d[c] - max)) / total - (c == label ? 1 : 0);
      o.ddots.push_back(coefficient * scale * p);
      o.sums.dscale += coefficient * p * d[c];
      o.sums.dscale_magnitude += coefficient * std::abs(p * d[c]);
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
    o.sums.loss += -y * logit > 0 ? -y * logit + std::log1p(std::exp(y * logit)) : std::log1p(std::exp(-y * logit));
    const double d = -y / (1 + std::exp(y * logit));
    o.ddots.push_back(coefficient * scale * d);
    o.sums.dscale += coefficient * d * dots[i];
    o.sums.dscale_magnitude += coefficient * std::abs(d * dots[i]);
    o.sums.dbias += coefficient * d;
    o.sums.dbias_magnitude += coefficient * std::abs(d);
  }
  return o;
}

void expect_scalar(double actual, double expected, double magnitude, const char* what) {
  EXPECT_LE(std::abs(actual - expected), test::tolerance(DType::kFloat32).scalar * magnitude) << what;
}

void expect_sums(const Sums& actual, const Sums& expected, const Sums& before) {
  expect_scalar(actual.loss - before.loss, expected.loss, expected.loss + before.loss, "loss");
  expect_scalar(actual.dscale - before.dscale, expected.dscale, expected.dscale_magnitude, "dscale");
  expect_scalar(actual.dscale_magnitude, expected.dscale_magnitude, expected.dscale_magnitude, "dscale magnitude");
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

TEST(InfoNce, AgreesWithDouble) {
  test::for_streams([](Stream& stream) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " scale " << c.scale);
      std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected =
          info_nce(test::to_doubles(dots), static_cast<std::size_t>(c.cols), static_cast<std::size_t>(c.label_begin),
                   static_cast<double>(c.scale), coefficient);
      Sums before;
      before.loss = 2.5;
      before.dscale = -0.5;
      Sums sums = before;
      info_nce_block(stream, {dots.data(), c.rows, c.cols, c.label_begin, c.scale, coefficient, sums.pointers()});
      expect_sums(sums, expected.sums, before);
      test::expect_close(dots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
    }
  });
}

TEST(Sigmoid, AgreesWithDoubleWithAndWithoutPairs) {
  test::for_streams([](Stream& stream) {
    std::vector<Case> cases = kCases;
    cases.push_back({5, 9, 100, 10});  // another rank's block: no pair in it
    cases.push_back({9, 17, -4, 10});  // pairs in some of the rows
    for (const Case& c : cases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " labels from " << c.label_begin);
      std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected = sigmoid(test::to_doubles(dots), static_cast<std::size_t>(c.cols), c.label_begin,
                                      static_cast<double>(c.scale), -10.0, coefficient);
      Sums before;
      before.loss = 2.5;
      before.dbias = 0.25;
      Sums sums = before;
      sigmoid_block(stream,
                    {dots.data(), c.rows, c.cols, c.label_begin, c.scale, -10.0f, coefficient, sums.pointers()});
      expect_sums(sums, expected.sums, before);
      test::expect_close(dots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
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
  close({nce.sums.dscale}, test::central_differences(
                               [&](const Doubles& at) { return info_nce(dots, 5, 1, at[0], 1.0).sums.loss; }, {4.0}));
  close(sig.ddots,
        test::central_differences([](const Doubles& at) { return sigmoid(at, 5, 1, 4.0, -1.5, 1.0).sums.loss; }, dots));
  close({sig.sums.dscale, sig.sums.dbias},
        test::central_differences([&](const Doubles& at) { return sigmoid(dots, 5, 1, at[0], at[1], 1.0).sums.loss; },
                                  {4.0, -1.5}));
}

/// A pair far above the others: the loss and 1 - softmax are tiny, and still right in every digit that float32 has.
TEST(InfoNce, KeepsPrecisionWhenThePairIsCertain) {
  test::for_streams([](Stream& stream) {
    std::vector<float> dots{1.0f, 0.8f, 0.75f};
    const Oracle expected = info_nce(test::to_doubles(dots), 3, 0, 100.0, 1.0);
    Sums sums;
    info_nce_block(stream, {dots.data(), 1, 3, 0, 100.0f, 1.0, sums.pointers()});
    EXPECT_LE(test::relative_error(Doubles{sums.loss}, Doubles{expected.sums.loss}),
              test::tolerance(DType::kFloat32).summed);
    EXPECT_LE(test::relative_error(Doubles{dots[0]}, Doubles{expected.ddots[0]}),
              test::tolerance(DType::kFloat32).summed);
  });
}

TEST(InfoNce, RefusesALabelThatIsNoColumn) {
  Stream stream(1);
  float dots[6] = {};
  Sums sums;
  EXPECT_THROW(info_nce_block(stream, {dots, 2, 3, 2, 1.0f, 1.0, sums.pointers()}), InternalError);
  EXPECT_THROW(info_nce_block(stream, {dots, 2, 3, -1, 1.0f, 1.0, sums.pointers()}), InternalError);
}

}  // namespace
}  // namespace triptych
