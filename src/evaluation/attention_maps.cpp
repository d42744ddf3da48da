#include "evaluation/attention_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

// One sample's [rows, ...] of a tensor of any float type.
std::vector<double> sample_of(const Tensor& tensor, int64_t sample) {
  const std::vector<float> values = tensor.slice(0, sample, 1).contiguous().to(DType::kFloat32).to_vector<float>();
  return {values.begin(), values.end()};
}

// The rows of one head among those of all: row r begins at values[offset + r * stride] and has `dim` elements.
struct HeadRows {
  const std::vector<double>& values;
  int64_t offset, stride, dim;

  double dot(int64_t row, const HeadRows& other, int64_t other_row) const {
    const double* a = values.data() + offset + row * stride;
    const double* b = other.values.data() + other.offset + other_row * other.stride;
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += a[d] * b[d];
    return sum;
  }
};

// In place, over the first `count` of a row; the others become 0.
void softmax_row(Matrix& matrix, int64_t row, int64_t count) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < count; ++j) largest = std::max(largest, matrix.at(row, j));
  for (int64_t j = 0; j < count; ++j) sum += matrix.at(row, j) = std::exp(matrix.at(row, j) - largest);
  for (int64_t j = 0; j < matrix.cols; ++j) matrix.at(row, j) = j < count ? matrix.at(row, j) / sum : 0;
}

void normalize_rows(Matrix& matrix) {
  for (int64_t i = 0; i < matrix.rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < matrix.cols; ++j) sum += matrix.at(i, j);
    for (int64_t j = 0; j < matrix.cols; ++j) matrix.at(i, j) /= sum == 0 ? 1 : sum;
  }
}

// The mean over heads of max(0, gradient * weights).
Matrix weighted_by_gradient(const AttentionWeights& attention) {
  TRIPTYCH_CHECK(attention.gradients.size() == attention.heads.size(), "{} has no gradients", attention.name);
  Matrix mean{attention.heads[0].rows, attention.heads[0].cols, {}};
  mean.values.resize(attention.heads[0].values.size());
  for (std::size_t h = 0; h < attention.heads.size(); ++h) {
    for (std::size_t k = 0; k < mean.values.size(); ++k) {
      const double weighted = attention.heads[h].values[k] * attention.gradients[h].values[k];
      mean.values[k] += std::max(0.0, weighted) / static_cast<double>(attention.heads.size());
    }
  }
  return mean;
}

}  // namespace

Matrix identity(int64_t size) {
  Matrix matrix{size, size, std::vector<double>(static_cast<std::size_t>(size * size), 0)};
  for (int64_t i = 0; i < size; ++i) matrix.at(i, i) = 1;
  return matrix;
}

Matrix product(const Matrix& a, const Matrix& b) {
  TRIPTYCH_CHECK(a.cols == b.rows, "a product of [{}, {}] and [{}, {}]", a.rows, a.cols, b.rows, b.cols);
  Matrix c{a.rows, b.cols, std::vector<double>(static_cast<std::size_t>(a.rows * b.cols), 0)};
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.cols; ++k) {
      for (int64_t j = 0; j < b.cols; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
    }
  }
  return c;
}

AttentionWeights attention_weights(const SeenAttention& seen, int64_t sample) {
  const int64_t queries = seen.q.size(1), keys = seen.kv.size(1), width = seen.q.size(2);
  const int64_t dim = width / seen.num_heads;
  const std::vector<double> q = sample_of(seen.q, sample), kv = sample_of(seen.kv, sample);
  std::vector<double> gradient;
  if (seen.gradient.defined() && seen.gradient.gradient())
    gradient = sample_of(seen.gradient.gradient()->tensor, sample);
  const int64_t length =
      seen.lengths.defined() ? seen.lengths.to_vector<int32_t>()[static_cast<std::size_t>(sample)] : keys;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  AttentionWeights result{.name = seen.name, .heads = {}, .gradients = {}};
  for (int64_t n = 0; n < seen.num_heads; ++n) {
    const HeadRows of_q{q, n * dim, width, dim}, of_k{kv, n * dim, 2 * width, dim};
    const HeadRows of_v{kv, width + n * dim, 2 * width, dim}, of_gradient{gradient, n * dim, width, dim};
    Matrix weights{queries, keys, std::vector<double>(static_cast<std::size_t>(queries * keys), 0)}, slopes = weights;
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t count = std::min(length, seen.causal ? std::max<int64_t>(0, i + 1 + keys - queries) : keys);
      for (int64_t j = 0; j < count; ++j) weights.at(i, j) = scale * of_q.dot(i, of_k, j);
      softmax_row(weights, i, count);
      for (int64_t j = 0; !gradient.empty() && j < keys; ++j) slopes.at(i, j) = of_gradient.dot(i, of_v, j);
    }
    result.heads.push_back(std::move(weights));
    if (!gradient.empty()) result.gradients.push_back(std::move(slopes));
  }
  return result;
}

Matrix mean_over_heads(const AttentionWeights& attention) {
  Matrix mean = attention.heads.at(0);
  for (std::size_t h = 1; h < attention.heads.size(); ++h) {
    for (std::size_t k = 0; k < mean.values.size(); ++k) mean.values[k] += attention.heads[h].values[k];
  }
  for (double& value : mean.values) value /= static_cast<double>(attention.heads.size());
  return mean;
}

Matrix rollout(std::span<const AttentionWeights> layers) {
  TRIPTYCH_CHECK(!layers.empty(), "a rollout over no layer");
  Matrix all = identity(layers[0].heads.at(0).rows);
  for (const AttentionWeights& layer : layers) {
    Matrix a = mean_over_heads(layer);
    for (int64_t i = 0; i < a.rows; ++i) a.at(i, i) += 1;
    normalize_rows(a);
    all = product(a, all);
  }
  return all;
}

Matrix relevance(std::span<const AttentionWeights> layers) {
  TRIPTYCH_CHECK(!layers.empty(), "relevance over no layer");
  Matrix all = identity(layers[0].heads.at(0).rows);
  for (const AttentionWeights& layer : layers) {
    const Matrix more = product(weighted_by_gradient(layer), all);
    for (std::size_t k = 0; k < all.values.size(); ++k) all.values[k] += more.values[k];
  }
  return all;
}

Matrix relevance_through(const AttentionWeights& attention, const Matrix& relevance) {
  Matrix normalized = relevance;
  for (int64_t i = 0; i < normalized.rows; ++i) normalized.at(i, i) -= 1;
  normalize_rows(normalized);
  for (int64_t i = 0; i < normalized.rows; ++i) normalized.at(i, i) += 1;
  return product(weighted_by_gradient(attention), normalized);
}

}  // namespace triptych::evaluation
