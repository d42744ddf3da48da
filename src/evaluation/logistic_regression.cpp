#include "evaluation/logistic_regression.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// a += factor * b
void add_scaled(Vector& a, double factor, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
}

double largest(const Vector& a) {
  double result = 0;
  for (const double value : a) result = std::max(result, std::abs(value));
  return result;
}

// The loss as a function of [weights, biases], and its gradient.
class Loss {
 public:
  Loss(const LabelledVectors& data, const LinearClassifier& shape, double penalty)
      : classes_(static_cast<std::size_t>(shape.classes)),
        dims_(static_cast<std::size_t>(shape.dims)),
        penalty_(penalty),
        labels_(data.labels) {
    for (int64_t i = 0; i < data.num_rows(); ++i) {
      const std::span<const float> row = data.row(i);
      for (std::size_t d = 0; d < dims_; ++d) {
        inputs_.push_back((static_cast<double>(row[d]) - shape.mean[d]) * shape.inverse_deviation[d]);
      }
    }
  }

  std::size_t num_parameters() const { return classes_ * (dims_ + 1); }

  double operator()(const Vector& parameters, Vector& gradient) const {
    gradient.assign(num_parameters(), 0);
    const double* const biases = parameters.data() + classes_ * dims_;
    double* const bias_gradient = gradient.data() + classes_ * dims_;
    const auto n = static_cast<double>(labels_.size());
    double loss = 0;
    Vector p(classes_);
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      const double* const x = inputs_.data() + i * dims_;
      for (std::size_t c = 0; c < classes_; ++c) {
        p[c] = std::inner_product(x, x + dims_, parameters.data() + c * dims_, biases[c]);
      }
      const double top = *std::max_element(p.begin(), p.end());
      const auto label = static_cast<std::size_t>(labels_[i]);
      const double of_label = p[label];
      double sum = 0;
      for (double& value : p) sum += value = std::exp(value - top);
      loss += std::log(sum) + top - of_label;
      for (std::size_t c = 0; c < classes_; ++c) {
        const double error = (p[c] / sum - (c == label ? 1.0 : 0.0)) / n;
        bias_gradient[c] += error;
        double* const of_class = gradient.data() + c * dims_;
        for (std::size_t d = 0; d < dims_; ++d) of_class[d] += error * x[d];
      }
    }
    loss /= n;
    for (std::size_t k = 0; k < classes_ * dims_; ++k) {
      loss += penalty_ / 2 * parameters[k] * parameters[k];
      gradient[k] += penalty_ * parameters[k];
    }
    return loss;
  }

 private:
  std::size_t classes_, dims_;
  double penalty_;
  std::vector<int32_t> labels_;
  Vector inputs_;  // [rows, dims], standardised
};

// Steps and the changes of the gradient along them.
struct Pair {
  Vector step, change;
  double inverse;  // 1 / (step . change)
};

// Nocedal and Wright, algorithm 7.4: the inverse Hessian's estimate times the gradient.
Vector two_loops(const std::deque<Pair>& pairs, Vector q) {
  std::vector<double> alphas;
  for (auto pair = pairs.rbegin(); pair != pairs.rend(); ++pair) {
    alphas.push_back(pair->inverse * dot(pair->step, q));
    add_scaled(q, -alphas.back(), pair->change);
  }
  if (!pairs.empty()) {
    const Pair& last = pairs.back();
    const double factor = 1 / (last.inverse * dot(last.change, last.change));
    for (double& value : q) value *= factor;
  }
  for (const Pair& pair : pairs) {
    const double beta = pair.inverse * dot(pair.change, q);
    add_scaled(q, alphas.back() - beta, pair.step);
    alphas.pop_back();
  }
  return q;
}

void standardise(const LabelledVectors& data, LinearClassifier& result) {
  const auto dims = static_cast<std::size_t>(data.dims);
  const auto n = static_cast<double>(data.num_rows());
  result.mean.assign(dims, 0);
  result.inverse_deviation.assign(dims, 0);
  for (std::size_t k = 0; k < data.values.size(); ++k) result.mean[k % dims] += static_cast<double>(data.values[k]) / n;
  for (std::size_t k = 0; k < data.values.size(); ++k) {
    const double difference = static_cast<double>(data.values[k]) - result.mean[k % dims];
    result.inverse_deviation[k % dims] += difference * difference / n;
  }
  // What is the same in every row but for the roundings of float32 has no deviation.
  Vector most(dims, 0);
  for (std::size_t k = 0; k < data.values.size(); ++k) {
    most[k % dims] = std::max(most[k % dims], std::abs(static_cast<double>(data.values[k])));
  }
  for (std::size_t d = 0; d < dims; ++d) {
    const double deviation = std::sqrt(result.inverse_deviation[d]);
    result.inverse_deviation[d] = deviation > std::numeric_limits<float>::epsilon() * most[d] ? 1 / deviation : 0;
  }
}

}  // namespace

void LabelledVectors::add(std::span<const float> vector, int32_t label) {
  values.insert(values.end(), vector.begin(), vector.end());
  labels.push_back(label);
}

std::vector<double> LinearClassifier::scores(std::span<const float> vector) const {
  std::vector<double> result = biases;
  for (std::size_t d = 0; d < vector.size(); ++d) {
    const double x = (static_cast<double>(vector[d]) - mean[d]) * inverse_deviation[d];
    for (std::size_t c = 0; c < result.size(); ++c) result[c] += weights[c * vector.size() + d] * x;
  }
  return result;
}

LinearClassifier fit_logistic_regression(const LabelledVectors& data, int64_t classes,
                                         const LogisticRegressionOptions& options) {
  TRIPTYCH_CHECK(data.num_rows() > 0 && data.values.size() == data.labels.size() * static_cast<std::size_t>(data.dims),
                 "{} numbers of {} vectors of {}", data.values.size(), data.num_rows(), data.dims);
  LinearClassifier result{.dims = data.dims, .classes = classes};
  standardise(data, result);
  const Loss loss(data, result, options.penalty);
  constexpr std::size_t kPairs = 10;
  constexpr double kSufficient = 1e-4, kRoundings = 1e-13;
  constexpr int kMostHalvings = 60;
  Vector at(loss.num_parameters(), 0), gradient, next_gradient;
  double value = loss(at, gradient);
  std::deque<Pair> pairs;
  while (result.num_iterations < options.max_iterations) {
    result.is_converged = largest(gradient) <= options.tolerance;
    if (result.is_converged) break;
    ++result.num_iterations;
    const Vector direction = two_loops(pairs, gradient);
    const double slope = -dot(direction, gradient);
    Vector next;
    double next_value = value, length = 1;
    bool is_better = false;
    for (int i = 0; i < kMostHalvings && !is_better; ++i, length /= 2) {
      next = at;
      add_scaled(next, -length, direction);
      next_value = loss(next, next_gradient);
      // Where losses differ by their roundings alone, the gradient tells which is nearer.
      const bool is_flat = std::abs(next_value - value) <= kRoundings * std::abs(value);
      is_better =
          is_flat ? largest(next_gradient) < largest(gradient) : next_value <= value + kSufficient * length * slope;
    }
    if (!is_better) break;  // as far as doubles go
    Pair pair{.step = next, .change = next_gradient, .inverse = 0};
    add_scaled(pair.step, -1, at);
    add_scaled(pair.change, -1, gradient);
    const double curvature = dot(pair.step, pair.change);
    if (curvature > 0) {
      pair.inverse = 1 / curvature;
      pairs.push_back(std::move(pair));
      if (pairs.size() > kPairs) pairs.pop_front();
    }
    at = std::move(next);
    std::swap(gradient, next_gradient);
    value = next_value;
  }
  const auto border = at.begin() + classes * data.dims;
  result.weights.assign(at.begin(), border);
  result.biases.assign(border, at.end());
  return result;
}

}  // namespace triptych::evaluation
