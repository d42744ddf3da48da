#include "kernels/residual_norm.h"

#include "kernels/cpu/row_blocks.h"
#include "kernels/residual_checks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/residual_norm.cpp"
#include "kernels/cpu/layer_norm_rows.h"
#include "kernels/cpu/residual_rows.h"
#include "kernels/cpu/simd.h"

// One pass over memory: what the first of the two kernels writes is in the first-level cache when the second reads it.

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void residual_norm_forward_rows(const ResidualForwardArgs& residual, const LayerNormForwardArgs& norm, int64_t begin,
                                int64_t end) {
  with_float_type(norm.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      residual_forward_row<T, T>(residual, row);
      layer_norm_forward_row<T>(norm, row);
    }
  });
}

void residual_norm_backward_block(const LayerNormBackwardArgs& norm, const ResidualBackwardArgs& residual,
                                  int64_t begin, int64_t end, float* sums) {
  float* const dbias = residual.dbias ? sums + 2 * norm.cols : nullptr;
  with_float_type(norm.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for_row_groups(begin, end, [&](auto num_rows, int64_t row) HWY_ATTR {
      layer_norm_backward_group<num_rows(), T>(norm, row, sums, sums + norm.cols);
      for (int64_t r = row; r < row + num_rows(); ++r) residual_backward_row<T>(residual, r, dbias);
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(residual_norm_forward_rows);
HWY_EXPORT(residual_norm_backward_block);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void residual_norm_forward(Stream& stream, const ResidualForwardArgs& residual, const LayerNormForwardArgs& norm) {
  check_float_dtype(norm.dtype, "residual_norm_forward");
  check_residual_norm_forward(residual, norm);
  parallel_ranges(stream, norm.rows, grain_rows(norm.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(residual_norm_forward_rows)(residual, norm, begin, end);
  });
}

void residual_norm_backward(Stream& stream, const LayerNormBackwardArgs& norm, const ResidualBackwardArgs& residual) {
  check_float_dtype(norm.dtype, "residual_norm_backward");
  check_residual_norm_backward(norm, residual);
  sum_row_blocks(stream, norm.rows, norm.cols, {norm.dweight, norm.dbias, residual.dbias},
                 [&](int64_t begin, int64_t end, float* sums) {
                   HWY_DYNAMIC_DISPATCH(residual_norm_backward_block)(norm, residual, begin, end, sums);
                 });
}

}  // namespace triptych::kernels
#endif
