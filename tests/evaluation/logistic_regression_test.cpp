#include "evaluation/logistic_regression.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int kRows = 23, kDims = 4;
constexpr double kPenalty = 0.05;

// x[i, d] = ((11 i + 7 d + i d) mod 13) / 4 - d, of which the third is the same in every row.
LabelledVectors made_data() {
  LabelledVectors data{.dims = kDims, .values = {}, .labels = {}};
  for (int i = 0; i < kRows; ++i) {
    std::vector<float> x;
    for (int d = 0; d < kDims; ++d)
      x.push_back(static_cast<float>((11 * i + 7 * d + i * d) % 13) / 4 - static_cast<float>(d));
    data.add(x, (i + i / 4 + i * i / 9) % 3);
  }
  return data;
}

// By scikit-learn 1.9.1: LogisticRegression(C=1/(0.05 * 23), solver="newton-cholesky", tol=1e-12) of the standardised
// inputs; its intercepts less their mean, since the loss does not depend on it.
TEST(LogisticRegression, IsTheMinimumThatScikitLearnFinds) {
  const std::vector<double> weights{-0.06219829934104426, -0.19728003243440448, 0, 0.049293419266633005,
                                    0.022289912807915434, -0.2071947349524579,  0, 0.14889617038748626,
                                    0.039908386533129205, 0.4044747673868625,   0, -0.19818958965411937};
  const std::vector<double> biases{-0.21459948210011798, -0.0683042950473653, 0.28290377714748327};
  const LinearClassifier found = fit_logistic_regression(made_data(), 3, {.penalty = kPenalty, .tolerance = 1e-10});
  EXPECT_TRUE(found.is_converged);
  EXPECT_LT(relative_error(found.weights, weights), kBetweenMinima);
  EXPECT_LT(relative_error(found.biases, biases), kBetweenMinima);
}

TEST(LogisticRegression, ScoresAreThoseOfStandardisedInputs) {
  const LabelledVectors data = made_data();
  const LinearClassifier found = fit_logistic_regression(data, 3, {.penalty = kPenalty});
  for (std::size_t d = 0; d < kDims; ++d) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < kRows; ++i) mean += data.row(i)[d] / static_cast<double>(kRows);
    for (int64_t i = 0; i < kRows; ++i) square += std::pow(data.row(i)[d] - mean, 2) / kRows;
    EXPECT_NEAR(found.mean[d], mean, kBetweenDoubles);
    EXPECT_NEAR(found.inverse_deviation[d], d == 2 ? 0 : 1 / std::sqrt(square), kBetweenDoubles);
  }
  const std::vector<double> scores = found.scores(data.row(5));
  for (std::size_t c = 0; c < 3; ++c) {
    double expected = found.biases[c];
    for (std::size_t d = 0; d < kDims; ++d) {
      expected += found.weights[c * kDims + d] * (static_cast<double>(data.row(5)[d]) - found.mean[d]) *
                  found.inverse_deviation[d];
    }
    EXPECT_NEAR(scores[c], expected, kBetweenDoubles);
  }
}

TEST(LogisticRegression, OneClassAndOneRowAreLegal) {
  LabelledVectors one{.dims = 2, .values = {}, .labels = {}};
  one.add(std::vector<float>{3, -1}, 1);
  const LinearClassifier found = fit_logistic_regression(one, 3);
  const std::vector<double> scores = found.scores(one.row(0));
  EXPECT_GT(scores[1], scores[0]);
  EXPECT_TRUE(found.weights == std::vector<double>(6, 0)) << "its inputs have no deviation";
}

}  // namespace
}  // namespace triptych::test
