#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych {

struct AdamWArgs {
  float* master = nullptr;        ///< [n], updated
  float* m = nullptr;             ///< [n], updated
  float* v = nullptr;             ///< [n], updated
  const float* grad = nullptr;    ///< [n]
  BFloat16* bf16_copy = nullptr;  ///< [n] or null: the new master, rounded
  int64_t n = 0;
  float lr = 0.0f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.0f;  ///< decoupled: master *= 1 - lr * weight_decay
  int64_t step = 1;           ///< of this update, from 1: the bias corrections are 1 - beta^step, taken in double
  float grad_scale = 1.0f;    ///< multiplied to the gradient first (clipping, loss scaling)
};

/// One AdamW update of a contiguous piece of parameters, an element at a time, so any sharding gives the same bits.
/// Source: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
void adamw(Stream& stream, const AdamWArgs& args);

/// Sum of x[i]^2, in double and in fixed blocks whatever the number of threads. A NaN or an infinity in x makes the
/// result NaN or infinite; finite values never overflow.
double sum_of_squares(Stream& stream, const float* x, int64_t n);

}  // namespace triptych
