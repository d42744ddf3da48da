#include "kernels/residual.h"

#include "kernels/cpu/row_blocks.h"
#include "kernels/elementwise.h"
#include "kernels/residual_checks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/residual.cpp"
#include "kernels/cpu/residual_rows.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void residual_forward_rows(const ResidualForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.z_dtype, [&](auto z_type) HWY_ATTR {
      using T = decltype(type);
      using Z = decltype(z_type);
      for (int64_t row = begin; row < end; ++row) {
        residual_forward_row<T, Z>(args, row);
      }
    });
  });
}

void residual_backward_rows(const ResidualBackwardArgs& args, int64_t begin, int64_t end, float* dbias) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) residual_backward_row<decltype(type)>(args, row, dbias);
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(residual_forward_rows);
HWY_EXPORT(residual_backward_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void residual_forward(Stream& stream, const ResidualForwardArgs& args) {
  check_float_dtype(args.dtype, "residual_forward");
  check_float_dtype(args.z_dtype, "residual_forward");
  check_dropout(args.dropout);
  const DropoutArgs& d = args.dropout;
  parallel_ranges(stream, d.batch * d.seq, grain_rows(d.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(residual_forward_rows)(args, begin, end);
  });
}

void residual_backward(Stream& stream, const ResidualBackwardArgs& args) {
  check_float_dtype(args.dtype, "residual_backward");
  check_residual_backward(args);
  const DropoutArgs& d = args.dropout;
  const int64_t rows = d.batch * d.seq;
  if (!args.dbias) {
    if (args.dz == nullptr) return;
    parallel_ranges(stream, rows, grain_rows(d.cols), [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(residual_backward_rows)(args, begin, end, nullptr);
    });
  } else if (args.dz == nullptr) {
    sum_rows(stream, {args.dout, args.dbias, rows, d.cols, d.cols, args.dtype});
  } else {
    sum_row_blocks(stream, rows, d.cols, {args.dbias}, [&](int64_t begin, int64_t end, float* sums) {
      HWY_DYNAMIC_DISPATCH(residual_backward_rows)(args, begin, end, sums);
    });
  }
}

}  // namespace triptych::kernels
#endif
