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
  double coefficient = 1.0;          ///< the weight of a row in the whole loss
  ContrastiveSums* sums = nullptr;   ///< one, in device memory
};

/// One direction of InfoNCE for `rows` queries against every candidate, with logits = scale * dots; every row's own
/// candidate must exist:
///   loss       += coefficient * sum over rows of (logsumexp(logits) - logits[label])
///   dots        = coefficient * scale * (softmax - onehot)
///   dlog_scale += coefficient * scale * sum of (softmax - onehot) * dots
/// The coefficient of the symmetric mean is 1 / (2 * global batch). Sums over rows are in double and in an order that
/// depends on the rows alone. Uses the stream's scratch.
/// Source: Radford et al. 2021 (CLIP), figure 3.
void info_nce_block(Stream& stream, const ContrastiveBlockArgs& args);

/// A block of the pairwise sigmoid loss, with logit = scale * dot + bias and y = 1 for the pair, -1 otherwise (a row
/// whose own candidate is not a column has negatives alone):
///   loss       += coefficient * sum of softplus(-y * logit)
///   d           = -y * sigmoid(-y * logit)
///   dots        = coefficient * scale * d
///   dlog_scale += coefficient * scale * sum of d * dot,  dbias += coefficient * sum of d
/// The coefficient of the mean is 1 / global batch.
/// Source: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, algorithm 1.
void sigmoid_block(Stream& stream, const ContrastiveBlockArgs& args);

}  // namespace triptych::kernels
