#include "kernels/gemm_peak.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

// A rate in FLOP/s, not in GFLOP/s nor a time: loose bounds, since a test must not depend on the machine's speed.
TEST(GemmPeak, IsInFlopsPerSecond) {
  Device device(1);
  const double no_such_machine = device.kind() == "cpu" ? 1e14 : 1e17;
  for (DType dtype : test::activation_dtypes()) {
    const std::optional<double> peak = measure_gemm_peak(device, dtype);
    ASSERT_TRUE(peak) << dtype_name(dtype);
    EXPECT_GT(*peak, 1e7) << dtype_name(dtype);  // a scalar loop on a slow core
    EXPECT_LT(*peak, no_such_machine) << dtype_name(dtype);
  }
}

TEST(GemmPeak, RefusesTypesWithoutProducts) {
  Device device(1);
  EXPECT_THROW(measure_gemm_peak(device, DType::kInt32), InternalError);
  EXPECT_THROW(measure_gemm_table(device, DType::kFloat64), InternalError);
}

}  // namespace
}  // namespace triptych::test
