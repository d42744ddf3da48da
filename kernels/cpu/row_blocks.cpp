#include "kernels/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_blocks.cpp"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sum_rows.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void add_block_sums(const float* sums, int64_t num_blocks, int64_t cols, int64_t stride, SumTarget out) {
  if (out.assign) {
    sum_rows_into<false>(sums, num_blocks, cols, stride, 1.0f, out.data);
  } else {
    sum_rows_into<true>(sums, num_blocks, cols, stride, 1.0f, out.data);
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {

HWY_EXPORT(add_block_sums);

void add_block_sums(const float* sums, int64_t num_blocks, int64_t cols, int64_t stride, SumTarget out) {
  HWY_DYNAMIC_DISPATCH(add_block_sums)(sums, num_blocks, cols, stride, out);
}

}  // namespace triptych::kernels::cpu
#endif
