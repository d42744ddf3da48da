#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych {

/// Rows of logits over a slice of the classes, all of them or one rank's share.
struct CrossEntropySlice {
  const void* logits = nullptr;      ///< dtype [rows, cols], of the classes [class_begin, class_begin + cols)
  const int32_t* targets = nullptr;  ///< [rows], each one of all classes; negative: the row has none
  int64_t rows = 0;
  int64_t cols = 0;  ///< may be 0
  int64_t class_begin = 0;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// What a softmax needs to know of each row, of a slice or of all classes. The target's own term is kept apart: where
/// it is almost certain, the loss and 1 - softmax are sums of the others, which are lost when added to it.
struct CrossEntropyRows {
  float* maximum = nullptr;       ///< [rows] of the logits; the lowest float where there are none
  float* target_logit = nullptr;  ///< [rows]; -inf if the target is not in the slice
  float* others = nullptr;        ///< [rows] sums of exp(logit - maximum) over the classes but the target
};

/// Assigns what `slice` says of its rows, in one pass over the logits. A row without a target is not read, and gets
/// what a slice without classes gets.
///
/// Slices are combined so: `maximum` and `target_logit` by the maximum over the slices, then each slice's `others` by
/// cross_entropy_rescale and their sum.
void cross_entropy_rows(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows);

/// others *= exp(slice_maximum - maximum): a slice's sums in terms of the maxima over all slices. All are [rows].
void cross_entropy_rescale(Stream& stream, const float* slice_maximum, const float* maximum, float* others,
                           int64_t rows);

/// *loss += coefficient * sum over the rows with a target of (logsumexp(logits) - logits[target]), in device memory.
/// The rows' losses are float32, their sum is in double and in an order that depends on `num_rows` alone. `rows` is
/// what all classes say: then a target that is no class (a caller's error) is in no slice, and makes the loss infinite.
void cross_entropy_loss(Stream& stream, const int32_t* targets, const CrossEntropyRows& rows, int64_t num_rows,
                        double coefficient, double* loss);

/// dlogits = coefficient * *dloss * (softmax - onehot), zeros in a row without a target; `rows` as for the loss.
///   dloss    one value in device memory
///   dlogits  dtype [rows, cols], assigned; may be the slice's logits
void cross_entropy_backward(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                            double coefficient, const double* dloss, void* dlogits);

}  // namespace triptych
