#pragma once

#include <cstdint>
#include <span>

#include "kernels/optimizer.h"

namespace triptych::kernels {

/// A parameter and the moving average of its values, float32 in device memory.
struct AverageTensor {
  float* average = nullptr;      ///< [n], updated
  const float* value = nullptr;  ///< [n]
  int64_t n = 0;
};

struct WeightAverageArgs {
  std::span<const AverageTensor> tensors;
  double decay = 0;                    ///< from 0 to below 1
  const UpdateState* state = nullptr;  ///< of the step that the values are of, in device memory
};

/// average = average + (1 - decay) * (value - average), an element at a time with two roundings, so that any sharding
/// gives the same bits; nothing if the state says that this step is skipped.
/// Source: Polyak and Juditsky 1992; with a constant decay, Tarvainen and Valpola 2017, Mean teachers, equation 2.
void update_averages(Stream& stream, const WeightAverageArgs& args);

}  // namespace triptych::kernels
