#include "kernels/layer_norm.h"

#include "kernels/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layer_norm.cpp"
#include "kernels/cpu/layer_norm_rows.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void layer_norm_forward_rows(const LayerNormForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) layer_norm_forward_row<decltype(type)>(args, row);
  });
}

void layer_norm_backward_block(const LayerNormBackwardArgs& args, int64_t begin, int64_t end, float* sums) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for_row_groups(begin, end, [&](auto num_rows, int64_t row) HWY_ATTR {
      layer_norm_backward_group<num_rows(), decltype(type)>(args, row, sums, sums + args.cols);
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(layer_norm_forward_rows);
HWY_EXPORT(layer_norm_backward_block);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void layer_norm_forward(Stream& stream, const LayerNormForwardArgs& args) {
  check_float_dtype(args.dtype, "layer_norm_forward");
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(layer_norm_forward_rows)(args, begin, end);
  });
}

void layer_norm_backward(Stream& stream, const LayerNormBackwardArgs& args) {
  check_float_dtype(args.dtype, "layer_norm_backward");
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  sum_row_blocks(stream, args.rows, args.cols, {args.dweight, args.dbias},
                 [&](int64_t begin, int64_t end, float* sums) {
                   HWY_DYNAMIC_DISPATCH(layer_norm_backward_block)(args, begin, end, sums);
                 });
}

}  // namespace triptych::kernels
#endif
