#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// Rows of logits over a slice of the classes, all of them or one rank's share.
struct CrossEntropySlice {
  const void* logits = nullptr;      ///< dtype [rows, cols], of the classes [class_begin, class_begin + cols)
  const int32_t* targets = nullptr;  ///< [rows], each one of all classes; negative: the row has none
  int64_t rows = 0;
  int64_t cols = 0;  ///< may be 0
  int64_t class_begin = 0;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// Targets that leave some of their weight to all classes alike: class c of a row with target t has
/// (1 - amount) * [c = t] + amount / num_classes. Source: Szegedy et al. 2016, Rethinking the Inception Architecture,
/// section 7.
struct LabelSmoothing {
  double amount = 0;        ///< from 0, which leaves the targets as they are, to below 1
  int64_t num_classes = 1;  ///< of all slices
};

/// What a softmax needs to know of each row, of a slice or of all classes. The target's own term is kept apart: where
/// it is almost certain, the loss and 1 - softmax are sums of the others, which are lost when added to it.
struct CrossEntropyRows {
  float* maximum = nullptr;       ///< [rows] of the logits; the lowest float where there are none
  float* target_logit = nullptr;  ///< [rows]; -inf if the target is not in the slice
  float* others = nullptr;        ///< [rows] sums of exp(logit - maximum) over the classes but the target
  /// [rows] sums of maximum - logit over all classes, of which none is negative: the logits' mean without what they
  /// have in common. Null where labels are not smoothed, which spares a second pass over the logits.
  float* below = nullptr;
};

/// Assigns what `slice` says of its rows, in one pass over the logits, two with `below`. A row without a target is not
/// read, and gets what a slice without classes gets.
///
/// Slices are combined so: `maximum` and `target_logit` by the maximum over the slices, then each slice's `others` and
/// `below` by cross_entropy_rescale and their sums.
void cross_entropy_rows(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows);

/// Puts a slice's sums in terms of the maxima over all slices: with d = rows.maximum - maximum <= 0,
/// others *= exp(d), and below -= cols * d where it is not null. `maximum` is [rows]; rows.maximum stays the slice's.
void cross_entropy_rescale(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                           const float* maximum);

/// *loss += coefficient * sum over the rows with a target of (logsumexp(logits) - sum of target weight * logit), in
/// device memory: logsumexp(logits) - logits[target] where labels are not smoothed. The rows' losses are float32, their
/// sum is in double and in an order that depends on `num_rows` alone. `rows` is what all classes say: then a target
/// that is no class (a caller's error) is in no slice, and makes the loss infinite; so does, where labels are smoothed,
/// a class with logit -inf.
void cross_entropy_loss(Stream& stream, const int32_t* targets, const CrossEntropyRows& rows, int64_t num_rows,
                        double coefficient, double* loss, const LabelSmoothing& smoothing = {});

/// dlogits = coefficient * *dloss * (softmax - target weights), zeros in a row without a target; `rows` as for the
/// loss, but for `below`, which is not read.
///   dloss    one value in device memory
///   dlogits  dtype [rows, cols], assigned; may be the slice's logits
void cross_entropy_backward(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                            double coefficient, const double* dloss, void* dlogits,
                            const LabelSmoothing& smoothing = {});

}  // namespace triptych::kernels
