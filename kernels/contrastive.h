#pragma once

#include <cstdint>

#include "device/stream.h"

namespace triptych {

/// Where a block of a contrastive loss adds up what it finds. The magnitudes are the sums of the terms' absolute
/// values: what an error in the sum is to be compared with, since the terms themselves cancel.
struct ContrastiveSums {
  double* loss = nullptr;
  double* dscale = nullptr;
  double* dscale_magnitude = nullptr;  ///< or null
  double* dbias = nullptr;             ///< sigmoid_block only
  double* dbias_magnitude = nullptr;   ///< or null; sigmoid_block only
};

struct InfoNceBlockArgs {
  float* dots = nullptr;  ///< [rows, cols]: raw dot products in, dL/d dot out
  int64_t rows = 0;
  int64_t cols = 0;         ///< all of the candidates
  int64_t label_begin = 0;  ///< row r's own candidate is column label_begin + r, which must exist
  float scale = 1.0f;
  double coefficient = 1.0;  ///< the weight of a row in the whole loss: 1 / (2 * global batch) for the symmetric mean
  ContrastiveSums sums;
};

/// One direction of InfoNCE for `rows` queries against every candidate, with logits = scale * dots:
///   *loss   += sum over rows of (logsumexp(logits) - logits[label])
///   dots     = coefficient * scale * (softmax - onehot)
///   *dscale += coefficient * sum of (softmax - onehot) * dots
/// Sums over rows are in double and in the order of the rows. Uses the stream's scratch.
/// Source: Radford et al. 2021 (CLIP), figure 3.
void info_nce_block(Stream& stream, const InfoNceBlockArgs& args);

struct SigmoidBlockArgs {
  float* dots = nullptr;  ///< [rows, cols]: raw dot products in, dL/d dot out
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t label_begin =
      0;  ///< row r's pair is column label_begin + r; outside of [0, cols), every column is a negative
  float scale = 1.0f;
  float bias = 0.0f;
  double coefficient = 1.0;  ///< the weight of a row in the whole loss: 1 / global batch
  ContrastiveSums sums;
};

/// A block of the pairwise sigmoid loss, with logit = scale * dot + bias and y = 1 for the pair, -1 otherwise:
///   *loss   += sum of softplus(-y * logit)
///   d        = -y * sigmoid(-y * logit)
///   dots     = coefficient * scale * d,  *dscale += coefficient * sum of d * dot,  *dbias += coefficient * sum of d
/// Source: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, algorithm 1.
void sigmoid_block(Stream& stream, const SigmoidBlockArgs& args);

}  // namespace triptych
