#include "kernels/gemm_peak.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych {
namespace {

// A rate in FLOP/s, not in GFLOP/s nor a time: loose bounds, since a test must not depend on the machine's speed.
TEST(GemmPeak, IsInFlopsPerSecond) {
  Stream stream(1);
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const double peak = measure_gemm_peak(stream, dtype);
    EXPECT_GT(peak, 1e7) << dtype_name(dtype);   // a scalar loop on a slow core
    EXPECT_LT(peak, 1e14) << dtype_name(dtype);  // no CPU
  }
}

TEST(GemmPeak, RefusesTypesWithoutProducts) {
  Stream stream(1);
  EXPECT_THROW(measure_gemm_peak(stream, DType::kInt32), InternalError);
  EXPECT_THROW(measure_gemm_table(stream, DType::kFloat64), InternalError);
}

}  // namespace
}  // namespace triptych
