#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

/// Vectors with their classes.
struct LabelledVectors {
  int64_t dims = 0;
  std::vector<float> values;    ///< [rows, dims]
  std::vector<int32_t> labels;  ///< [rows], from 0

  int64_t num_rows() const { return static_cast<int64_t>(labels.size()); }
  std::span<const float> row(int64_t i) const {
    return std::span(values).subspan(static_cast<std::size_t>(i * dims), static_cast<std::size_t>(dims));
  }
  void add(std::span<const float> vector, int32_t label);
};

struct LogisticRegressionOptions {
  /// Of the squared 2-norm of the weights, not of the biases, beside the mean loss.
  double penalty = 1e-3;
  int max_iterations = 1000;
  double tolerance = 1e-6;  ///< of the gradient: it ends where no element is larger
};

/// A linear classifier. Its inputs are standardised: mean 0 and variance 1 over what it was fitted to.
struct LinearClassifier {
  int64_t dims = 0, classes = 0;
  std::vector<double> mean, inverse_deviation;  ///< [dims]; the latter 0 where the deviation is, to float32
  std::vector<double> weights;                  ///< [classes, dims], of standardised inputs
  std::vector<double> biases;                   ///< [classes]
  int num_iterations = 0;
  bool is_converged = false;

  /// The logits of one vector, [classes].
  std::vector<double> scores(std::span<const float> vector) const;
};

/// Multinomial logistic regression: the minimum of
///
///   1 / n * sum over rows of -log softmax(W x + b)[label] + penalty / 2 * |W|^2
///
/// by L-BFGS (10 pairs, steps halved until Armijo's condition holds) from zero, in double precision. For a positive
/// penalty the minimum is unique but for a constant in b, and here b sums to zero. A pure function.
/// Cost: O(n * classes * dims) an iteration.
/// Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 7.4 and 3.1; as a probe of features, Radford et
/// al. 2021, CLIP, section 3.2.
LinearClassifier fit_logistic_regression(const LabelledVectors& data, int64_t classes,
                                         const LogisticRegressionOptions& options = {});

}  // namespace triptych::evaluation
