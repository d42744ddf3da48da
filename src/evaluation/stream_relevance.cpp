#include "evaluation/stream_relevance.h"

#include "base/error.h"

namespace triptych::evaluation {
namespace {

Matrix transposed(const Matrix& matrix) {
  Matrix result{matrix.cols, matrix.rows, std::vector<double>(matrix.values.size())};
  for (int64_t i = 0; i < matrix.rows; ++i) {
    for (int64_t j = 0; j < matrix.cols; ++j) result.at(j, i) = matrix.at(i, j);
  }
  return result;
}

void add_to(Matrix& sum, const Matrix& more) {
  TRIPTYCH_CHECK(sum.rows == more.rows && sum.cols == more.cols, "a sum of [{}, {}] and [{}, {}]", sum.rows, sum.cols,
                 more.rows, more.cols);
  for (std::size_t k = 0; k < sum.values.size(); ++k) sum.values[k] += more.values[k];
}

}  // namespace

StreamRelevance::StreamRelevance(int64_t tokens, int64_t other_tokens)
    : own(identity(tokens)),
      other{tokens, other_tokens, std::vector<double>(static_cast<std::size_t>(tokens * other_tokens), 0)} {}

void StreamRelevance::attend_within(const AttentionWeights& attention) {
  const Matrix a = relevant_weights(attention);
  add_to(own, product(a, own));
  add_to(other, product(a, other));
}

void StreamRelevance::attend_across(const AttentionWeights& attention, const StreamRelevance& q) {
  const Matrix a = relevant_weights(attention);
  const Matrix of_other = product(transposed(normalized_relevance(own)), product(a, normalized_relevance(q.own)));
  add_to(own, product(a, q.other));
  add_to(other, of_other);
}

}  // namespace triptych::evaluation
