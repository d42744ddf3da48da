#pragma once

#include <cstdint>

#include "device/stream.h"

namespace triptych::kernels {

/// Where a contrastive loss adds up what it finds, in device memory. The magnitudes are the sums of the terms' absolute
/// values: what an error in the sum is to be compared with, since the terms themselves cancel.
struct ContrastiveSums {
  double loss = 0;
  double dlog_scale = 0;
  double dlog_scale_magnitude = 0;
  double dbias = 0;            ///< sigmoid_block only
  double dbias_magnitude = 0;  ///< sigmoid_block only
};
inline constexpr int64_t kNumContrastiveSums = sizeof(ContrastiveSums) / sizeof(double);

/// What makes logits of dot products, and what a term counts.
struct ContrastiveTerms {
  const float* log_scale = nullptr;  ///< one value in device memory: scale = exp(*log_scale)
  const float* bias = nullptr;       ///< one value in device memory; sigmoid_block only
  double coefficient = 1.0;          ///< the weight of a row in the whole loss, or with `num_pairs` that times these
  /// One value in device memory: the pairs over which the loss is a mean. Of fewer than kFewestPairs there is nothing
  /// to contrast: a row's weight is then 0. Null: the coefficient is the weight.
  const double* num_pairs = nullptr;
  ContrastiveSums* sums = nullptr;  ///< one, in device memory
};
inline constexpr double kFewestPairs = 2;

/// Some queries against some candidates.
struct ContrastiveBlock {
  float* dots = nullptr;  ///< [rows, cols], raw dot products; overwritten
  int64_t rows = 0;
  int64_t cols = 0;

  // Which rows have their own candidate here: row first_row + i has column first_col + i, for i < num_own. The others
  // have it in another block.
  int64_t first_row = 0;
  int64_t first_col = 0;
  int64_t num_own = 0;

  // Samples that lack the image or the text are no pairs: 0 where a row, a column, is of one, whatever is in its dot
  // products. A row that is there has its own candidate there. Null: all are there.
  const uint8_t* row_present = nullptr;  ///< [rows]
  const uint8_t* col_present = nullptr;  ///< [cols]
};

// ---- InfoNCE in both directions from one matrix of similarities, block by block: the softmax of a row is a query's
// over all candidates, that of a column a candidate's over all queries. First each block says what it adds to the sums
// of exponentials, then, when these are complete, what its gradients are. Source: Radford et al. 2021 (CLIP), figure 3;
// Milakov and Gimelshein 2018, Online normalizer calculation for softmax.

/// What is known of rows, or of columns, from the blocks so far. The own term is kept apart: where it is almost
/// certain, the loss and 1 - softmax are sums of the others, which are lost when added to it.
struct InfoNceStatistics {
  float* maximum = nullptr;  ///< the largest dot product; before the first block the lowest float
  float* own = nullptr;      ///< the pair's; before its block the lowest float
  float* others = nullptr;   ///< sums over the others of exp(scale * (dot - maximum)); before the first block 0
};

/// Adds a block. An absent row's, or column's, own statistics may be anything finite.
void info_nce_statistics(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                         const InfoNceStatistics& of_rows, const InfoNceStatistics& of_cols);

/// Puts the sums of `n` rows in terms of maxima over more blocks: others *= exp(scale * (statistics.maximum -
/// maximum)). Statistics of several ranks are combined so: `maximum` and `own` by their maxima, then each rank's
/// `others` by this and their sums.
void info_nce_rescale(Stream& stream, const float* log_scale, const InfoNceStatistics& statistics, const float* maximum,
                      int64_t n);

/// What complete statistics come to.
struct InfoNceSoftmax {
  float* maximum = nullptr;      ///< of the dot products
  float* inverse_sum = nullptr;  ///< 1 / sum of exp(scale * (dot - maximum)); 0 of what is absent
  float* own = nullptr;          ///< the pair's probability - 1; 0 of what is absent
};

struct InfoNceSoftmaxArgs {
  InfoNceStatistics statistics;
  int64_t n = 0;
  const uint8_t* present = nullptr;  ///< [n]; null: all are there
  InfoNceSoftmax softmax;            ///< assigned
  int64_t counted_begin = 0;         ///< the loss is that of [counted_begin, counted_begin + num_counted) alone
  int64_t num_counted = 0;
};

/// Assigns the softmax, and with logits = scale * dots adds
///   loss += coefficient * sum over those counted of (logsumexp(logits) - own logit)
/// The coefficient of the symmetric mean is 1 / (2 * pairs of the global batch).
void info_nce_softmax(Stream& stream, const InfoNceSoftmaxArgs& args, const ContrastiveTerms& terms);

/// With d = (softmax of the row - onehot) + (softmax of the column - onehot), 0 where either is absent:
///   dots        = coefficient * scale * d
///   dlog_scale += coefficient * scale * sum of d * dots
/// Sums over rows are in double and in an order that depends on the rows alone. Uses the stream's scratch.
void info_nce_gradients(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                        const InfoNceSoftmax& of_rows, const InfoNceSoftmax& of_cols);

// ---- The pairwise sigmoid loss

/// A block, with logit = scale * dot + bias and y = 1 for a pair, -1 otherwise; 0 where either is absent:
///   loss       += coefficient * sum of softplus(-y * logit)
///   d           = -y * sigmoid(-y * logit)
///   dots        = coefficient * scale * d
///   dlog_scale += coefficient * scale * sum of d * dot,  dbias += coefficient * sum of d
/// The coefficient of the mean is 1 / pairs of the global batch. Sums and scratch as above.
/// Source: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, algorithm 1.
void sigmoid_block(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms);

}  // namespace triptych::kernels
