#pragma once

#include "objectives/objective.h"

namespace triptych::objectives {

struct ContrastiveConfig {
  enum class Kind { kInfoNce, kSigmoid };
  Kind kind = Kind::kInfoNce;
  float initial_scale = 1 / 0.07f;  ///< what similarities are multiplied by: the inverse temperature
  float maximum_scale = 100;
  float initial_bias = -10;  ///< sigmoid only
  /// Fields of presence, uint8 [B]: a sample where one is 0 is no pair. None: every sample is one.
  std::vector<std::string> needs = {};
};

/// The contrastive losses over the global batch, coupled, with the learned scale (and bias) as parameters.
///
///   InfoNCE   Radford et al. 2021: the mean of the cross-entropies image -> text and text -> image
///   sigmoid   Zhai et al. 2023: -1/B sum over all pairs of log sigmoid(y (scale * z_i . z_t + bias))
///
/// Reads the slots "image_embedding" and "text_embedding", float32 [B, E], rows of unit length, Shard(0) on `dp`: row i
/// of both is a pair. Reports "temperature", the inverse of the scale.
///
/// With `needs`, the loss is that of the samples that have all of it, as if the batch were these alone: neither the
/// image nor the text of any other is a query or a candidate, whatever numbers are in its rows, and B is the number of
/// pairs in the global batch. Reports that too, as "pairs". Of fewer than two there is nothing to contrast: the loss
/// and all its gradients are 0.
///
/// Texts meet the images in blocks (contrastive_blocks.h), so neither all embeddings nor all similarities exist at
/// once; gradients are kept from the forward pass, which makes those that are needed. Ranks of `cp` and `tp`, which
/// have the same samples, share the texts out. The loss is Partial on `dp`, `cp` and `tp`.
ObjectiveSpec contrastive_objective(const ContrastiveConfig& config, double weight = 1);

}  // namespace triptych::objectives
