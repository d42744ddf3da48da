#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// One tensor of float32 elements in device memory.
struct FloatSpan {
  const float* data = nullptr;
  int64_t n = 0;
};

/// *sum = the sum of all elements' squares, in double and in fixed blocks whatever the number of threads. A NaN or an
/// infinity makes the result NaN or infinite; finite values never overflow. `sum` is in device memory. Uses the
/// stream's scratch.
void sum_of_squares(Stream& stream, std::span<const FloatSpan> tensors, double* sum);

/// What one update needs and only the step itself finds out. It lives in device memory, written by `decide_update` and
/// read by `adamw`, so that no step waits for the host.
struct UpdateState {
  int64_t num_updates = 0;    ///< applied so far, the one that was decided last included
  int64_t num_skipped = 0;    ///< steps that changed nothing, since a number in them was not finite
  float loss_scale = 1;       ///< what the loss's gradient is multiplied by when a backward starts
  int32_t num_good = 0;       ///< steps applied since the loss scale last changed
  int32_t apply = 0;          ///< of the step that was decided last: whether it changes the parameters
  float gradient_factor = 1;  ///< of that step: what gradients are to be multiplied by, for clipping and loss scaling
};

struct DecideUpdateArgs {
  const double* loss = nullptr;          ///< over the global batch, in device memory
  const double* squared_norm = nullptr;  ///< of the gradients as they are, times the loss scale; in device memory
  double* norm = nullptr;                ///< assigned: of the gradients without the loss scale; in device memory
  double clip_norm = 0;                  ///< 0: never
  UpdateState* state = nullptr;
  /// Dynamic loss scaling: halved when a gradient is not finite, doubled after so many good steps; 0: never changed.
  int32_t growth_interval = 0;
  float min_loss_scale = 1;
  float max_loss_scale = 65536.0f * 65536.0f;
};

/// Applies the update if loss and norm are finite, else skips it, and counts either.
/// Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.2.
void decide_update(Stream& stream, const DecideUpdateArgs& args);

/// One parameter as the optimizer sees it; everything is in device memory.
struct AdamWTensor {
  float* master = nullptr;      ///< [n], updated
  float* m = nullptr;           ///< [n], updated
  float* v = nullptr;           ///< [n], updated
  const float* grad = nullptr;  ///< [n]
  void* copy = nullptr;         ///< [n] of copy_dtype or null: the new master, rounded
  DType copy_dtype = DType::kBFloat16;
  int64_t n = 0;
  float weight_decay = 0.0f;                               ///< decoupled: master *= 1 - lr * weight_decay
  float maximum = std::numeric_limits<float>::infinity();  ///< every element is kept at or below
};

struct AdamWArgs {
  std::span<const AdamWTensor> tensors;
  float lr = 0.0f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  const UpdateState* state = nullptr;  ///< the bias corrections are 1 - beta^num_updates, taken in double
};

/// One AdamW update of every tensor, an element at a time, so any sharding gives the same bits; nothing if the state
/// says that this step is skipped.
/// Source: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
void adamw(Stream& stream, const AdamWArgs& args);

}  // namespace triptych::kernels
