#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// Every head of x [..., K], `times` times behind one another: keys and values of grouped-query attention, as many as
/// there are queries' heads. Head n of y [..., times * K] is head n / times of x.
///
///   head_dim   columns of a head; an axis may shard K by heads
///
/// Backward: keeps nothing; the gradient of a head is the sum of its copies'. Local: never communicates.
/// Source: Ainslie et al. 2023, GQA.
Variable repeat_heads(const Variable& x, int64_t times, int64_t head_dim);

/// The same of a rank's tensor, and the sum of its copies' heads: for operations that have the heads repeated within.
Tensor repeated_heads(const Tensor& x, int64_t times, int64_t head_dim);
Tensor summed_heads(const Tensor& x, int64_t times, int64_t head_dim);

}  // namespace triptych::ops
