#pragma once

#include <span>

#include "autograd/variable.h"

namespace triptych::ops {

/// The cross-entropy of a softmax over the last dim, whose classes may be sharded.
///
///   logits [..., V]   complete; an axis may shard the classes (a vocabulary on `tp`) or one of the leading dims
///   targets [...]     int32, of this rank's rows: a class of all V; negative for a row that counts for nothing
///   coefficient       the weight of a row: 1 / number of targets in the global batch for the mean
///   label_smoothing   s in [0, 1): the share of a target's weight that all V classes get alike, its own among them
///   returns           float64 [1] on the device: coefficient * sum over the rows with a target of
///                     (logsumexp(logits) - (1 - s) * logits[target] - s * mean of the row's logits);
///                     Partial on the axes that shard rows, else Replicate
///
/// A target that is not below V makes the loss infinite, as does, with s > 0, a class with logit -inf.
/// Backward: keeps the logits and three floats a row (four if s > 0); dlogits takes the logits' memory if nobody else
/// holds it. Cost: reads the logits once (twice if s > 0); backward reads and writes them once. Over the axes that
/// shard classes, forward all-reduces two floats a row and then one (two if s > 0); backward communicates nothing.
/// Throws LayoutError if the logits are Partial.
/// Source of the smoothing: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
Variable cross_entropy(const Variable& logits, const Tensor& targets, double coefficient, Mesh& mesh,
                       double label_smoothing = 0);

/// What the softmax says of each row's target: for measuring, not for learning. No logits are gathered.
///
///   logits, targets   as of cross_entropy
///   returns           float32 [..., 3], a constant, of this rank's rows: the largest logit, the target's logit, and
///   the
///                     sum over the other classes of exp(logit - largest). A row without a target has nothing of worth
///
/// Communicates as cross_entropy's forward does.
Variable target_scores(const Variable& logits, const Tensor& targets, Mesh& mesh);

/// log softmax(logits)[target] of a row, out of its three scores.
double target_log_probability(std::span<const float> scores);

}  // namespace triptych::ops
