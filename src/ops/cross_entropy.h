#pragma once

#include "autograd/variable.h"

namespace triptych {

/// The cross-entropy of a softmax over the last dim, whose classes may be sharded.
///
///   logits [..., V]   complete; an axis may shard the classes (a vocabulary on `tp`) or one of the leading dims
///   targets [...]     int32, of this rank's rows: a class of all V; negative for a row that counts for nothing
///   coefficient       the weight of a row: 1 / number of targets in the global batch for the mean
///   returns           float64 [1] on the device: coefficient * sum over the rows with a target of
///                     (logsumexp(logits) - logits[target]); Partial on the axes that shard rows, else Replicate
///
/// A target that is not below V makes the loss infinite.
/// Backward: keeps the logits and three floats a row; dlogits takes the logits' memory if nobody else holds it.
/// Cost: reads the logits once; backward reads and writes them once. Over the axes that shard classes, forward
/// all-reduces two floats a row and then one; backward communicates nothing.
/// Throws LayoutError if the logits are Partial.
Variable cross_entropy(const Variable& logits, const Tensor& targets, double coefficient, Mesh& mesh);

}  // namespace triptych
