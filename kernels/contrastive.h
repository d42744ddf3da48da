#pragma once

#include <cstdint>

#include "device/stream.h"

namespace triptych::kernels {

/// Where a block of a contrastive loss adds up what it finds, in device memory. The magnitudes are the sums of the
/// terms' absolute values: what an error in the sum is to be compared with, since the terms themselves cancel.
struct ContrastiveSums {
  double loss = 0;
  double dlog_scale = 0;
  double dlog_scale_magnitude = 0;
  double dbias = 0;            ///< sigmoid_block only
  double dbias_magnitude = 0;  ///< sigmoid_block only
};
inline constexpr int64_t kNumContrastiveSums = sizeof(ContrastiveSums) / sizeof(double);

struct ContrastiveBlockArgs {
  float* dots = nullptr;  ///< [rows, cols]: raw dot products in, dL/d dot out
  int64_t rows = 0;
  int64_t cols = 0;                  ///< all of the candidates
  int64_t label_begin = 0;           ///< row r's own candidate is column label_begin + r
  const float* log_scale = nullptr;  ///< one value in device memory: scale = exp(*log_scale)
  const float* bias = nullptr;       ///< one value in device memory; sigmoid_block only
  double coefficient = 1.0;          ///< the weight of a row in the whole loss, or with `num_pairs` that times these
  ContrastiveSums* sums = nullptr;   ///< one, in device memory

  // Samples that lack the image or the text are no pairs: 0 where a row, a column, is of one. A row that is there has
  // its own candidate there, where that is a column. Null: all are there.
  const uint8_t* row_present = nullptr;  ///< [rows]
  const uint8_t* col_present = nullptr;  ///< [cols]
  /// One value in device memory: the pairs over which the loss is a mean. Of fewer than kFewestPairs there is nothing
  /// to contrast: a row's weight is then 0. Null: the coefficient is the weight.
  const double* num_pairs = nullptr;
};
inline constexpr double kFewestPairs = 2;

// A row that is absent adds nothing and gets zeros; a column that is absent counts in no row, and gets zeros.

/// One direction of InfoNCE for `rows` queries against every candidate, with logits = scale * dots; every row's own
/// candidate must exist:
///   loss       += coefficient * sum over rows of (logsumexp(logits) - logits[label])
///   dots        = coefficient * scale * (softmax - onehot)
///   dlog_scale += coefficient * scale * sum of (softmax - onehot) * dots
/// The coefficient of the symmetric mean is 1 / (2 * pairs of the global batch). Sums over rows are in double and in an
/// order that depends on the rows alone. Uses the stream's scratch. Source: Radford et al. 2021 (CLIP), figure 3.
void info_nce_block(Stream& stream, const ContrastiveBlockArgs& args);

/// A block of the pairwise sigmoid loss, with logit = scale * dot + bias and y = 1 for the pair, -1 otherwise (a row
/// whose own candidate is not a column has negatives alone):
///   loss       += coefficient * sum of softplus(-y * logit)
///   d           = -y * sigmoid(-y * logit)
///   dots        = coefficient * scale * d
///   dlog_scale += coefficient * scale * sum of d * dot,  dbias += coefficient * sum of d
/// The coefficient of the mean is 1 / pairs of the global batch.
/// Source: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, algorithm 1.
void sigmoid_block(Stream& stream, const ContrastiveBlockArgs& args);

}  // namespace triptych::kernels
