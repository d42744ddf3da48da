#pragma once

#include "base/error.h"
#include "kernels/residual_norm.h"

// What the implementations of residual and residual_norm check.

namespace triptych::kernels {

inline void check_dropout(const DropoutArgs& d) {
  TRIPTYCH_CHECK(d.p >= 0.0f && d.p < 1.0f, "Dropout needs p in [0, 1), found {}.", d.p);
  TRIPTYCH_CHECK(d.path_p >= 0.0f && d.path_p < 1.0f, "Stochastic depth needs p in [0, 1), found {}.", d.path_p);
  TRIPTYCH_CHECK(d.batch_begin >= 0 && d.seq_begin >= 0 && d.seq_begin + d.seq <= d.seq_total,
                 "A rank's rows [{}, {}) lie in the sequence's {}, and its batch begins at {} >= 0.", d.seq_begin,
                 d.seq_begin + d.seq, d.seq_total, d.batch_begin);
}

inline void check_residual_backward(const ResidualBackwardArgs& args) {
  check_dropout(args.dropout);
  TRIPTYCH_CHECK(args.dropout.drops() == (args.dz != nullptr),
                 "dz is wanted where something drops alone, found p = {} and {}.", args.dropout.p, args.dropout.path_p);
}

/// That the two argument lists of residual_norm speak of the same rows.
template <typename Norm>
void check_same_rows(const DropoutArgs& d, DType dtype, const Norm& norm) {
  TRIPTYCH_CHECK(norm.rows == d.batch * d.seq && norm.cols == d.cols && norm.cols > 0 && norm.dtype == dtype,
                 "residual_norm of [{}, {}, {}] {} and [{}, {}] {}", d.batch, d.seq, d.cols, dtype_name(dtype),
                 norm.rows, norm.cols, dtype_name(norm.dtype));
}

inline void check_residual_norm_forward(const ResidualForwardArgs& residual, const LayerNormForwardArgs& norm) {
  check_dropout(residual.dropout);
  check_same_rows(residual.dropout, residual.dtype, norm);
  TRIPTYCH_CHECK(residual.z_dtype == residual.dtype && norm.x == residual.out && norm.y != norm.x,
                 "residual_norm takes the norm of its sum, and z of {}, found {}", dtype_name(residual.dtype),
                 dtype_name(residual.z_dtype));
}

inline void check_residual_norm_backward(const LayerNormBackwardArgs& norm, const ResidualBackwardArgs& residual) {
  check_residual_backward(residual);
  check_same_rows(residual.dropout, residual.dtype, norm);
  TRIPTYCH_CHECK(residual.dout == norm.dx && residual.dz != norm.dx, "residual_norm takes the norm's dx");
}

}  // namespace triptych::kernels
