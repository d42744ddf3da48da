#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/dtype.h"
#include "device/device.h"

namespace triptych::kernels {

/// The speed of one matrix product as `matmul` runs it.
struct GemmRate {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  /// Of A and B; C is float32 for transpose_a (a weight's gradient), else as the inputs.
  DType dtype = DType::kFloat32;
  double gflops = 0;  ///< 1e9 FLOP/s; of the fastest of several runs
};

/// Measures the products of linear layers (forward, gradient of the input, of the weight) at typical sizes, each for
/// about 0.1 s. Throws OutOfMemory.
std::vector<GemmRate> measure_gemm_table(Device& device, DType dtype);

/// The rate that shares of peak refer to: FLOP/s of the fastest of a few large and typical products, in 0.3 to 0.5 s.
/// dtype float32 or bfloat16 (under CUDA float16 too), on all of the device's threads.
///
/// Takes at most half of the memory that is left, and gives it back. Nothing where that is too little for products that
/// show the peak. While it waits for the device a failure of a peer is found, and thrown.
std::optional<double> measure_gemm_peak(Device& device, DType dtype);

}  // namespace triptych::kernels
