#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "nn/attention_sink.h"
#include "parallel/mesh.h"

namespace triptych::evaluation {

/// Row-major [rows, cols].
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> values;

  double& at(int64_t row, int64_t col) { return values[static_cast<std::size_t>(row * cols + col)]; }
  double at(int64_t row, int64_t col) const { return values[static_cast<std::size_t>(row * cols + col)]; }
  std::span<const double> row(int64_t index) const {
    return std::span(values).subspan(static_cast<std::size_t>(index * cols), static_cast<std::size_t>(cols));
  }
};
Matrix identity(int64_t size);
/// Throws InternalError unless a.cols = b.rows.
Matrix product(const Matrix& a, const Matrix& b);

/// How an attention weighted its keys for one sample.
struct AttentionWeights {
  std::string name;
  std::vector<Matrix> heads;      ///< each [queries, keys]; a row sums to 1, or to 0 where no key is left
  std::vector<Matrix> gradients;  ///< of a scalar with respect to these weights; empty if there was no backward
};

/// The weights that an attention used, softmax(q k^T / sqrt(D)) over the keys that its masks leave, from its queries
/// and keys, in double; and, where a gradient g has reached the attention's output o = A v, dA = g v^T. Cost: heads *
/// queries * keys * D products on the host, twice that with gradients.
AttentionWeights attention_weights(const SeenAttention& seen, int64_t sample);

/// The same of all attentions that a pass over rows which every rank has alike has shown, and that are wanted by their
/// name: those of all stages, in the model's order, with the heads of all ranks of `tp`. Collective over the mesh;
/// every rank gets all.
std::vector<AttentionWeights> all_attention_weights(const AttentionSink& sink, int64_t sample, Mesh& mesh,
                                                    const std::function<bool(const std::string&)>& is_wanted);

Matrix mean_over_heads(const AttentionWeights& attention);

/// Attention rollout (Abnar and Zuidema 2020): how much of each token has come to each through self-attentions and the
/// residual connections around them. Of each layer, in order, a = (mean over heads + I) / 2, rows made to sum to 1; the
/// product of all, the last layer's on the left. [tokens, tokens]; rows sum to 1.
Matrix rollout(std::span<const AttentionWeights> layers);

/// How relevant each token is to each for the scalar whose gradients these are (Chefer et al. 2021, "Generic
/// attention-model explainability", equations 5 and 6): R = I, then for each layer, in order, R += a R with
/// a = mean over heads of max(0, gradient * weights). [tokens, tokens].
Matrix relevance(std::span<const AttentionWeights> layers);

/// The same behind an attention from other queries, such as a pool's, to tokens of relevance R (equation 10): a R',
/// R' being normalized_relevance of R. [queries, tokens].
Matrix relevance_through(const AttentionWeights& attention, const Matrix& relevance);

/// The mean over heads of max(0, gradient * weights): the `a` of these equations. Throws InternalError if there are no
/// gradients.
Matrix relevant_weights(const AttentionWeights& attention);

/// I plus R - I with rows made to sum to 1 (equations 8 and 9); a row that has nothing stays so.
Matrix normalized_relevance(const Matrix& relevance);

}  // namespace triptych::evaluation
