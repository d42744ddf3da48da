#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"
#include "kernels/sum_target.h"

namespace triptych::kernels {

/// dst[i] = src[i], float32, bfloat16 and float16 in any combination; rounds to nearest, ties to even.
void cast(Stream& stream, const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t n);

/// dst[i] = value, dst float32, bfloat16 or float16.
void fill(Stream& stream, void* dst, float value, int64_t n, DType dtype);

struct CopyRowsArgs {
  const void* src = nullptr;
  void* dst = nullptr;  ///< does not overlap src
  int64_t rows = 0;
  int64_t row_bytes = 0;
  int64_t src_stride_bytes = 0;
  int64_t dst_stride_bytes = 0;
};

/// Copies `rows` runs of `row_bytes`; strides may be 0 (src: broadcast) or negative.
void copy_rows(Stream& stream, const CopyRowsArgs& args);

/// dst += src, both of `dtype` (float32, bfloat16 or, on a GPU, float16).
void add_into(Stream& stream, void* dst, const void* src, int64_t n, DType dtype);

/// dst[i] = factor * src[i], both of `dtype` (float32, bfloat16 or, on a GPU, float16); dst may be src.
void scale(Stream& stream, const void* src, void* dst, float factor, int64_t n, DType dtype);

/// dst *= *factor, float32, with a factor in device memory.
void scale_by(Stream& stream, float* dst, const double* factor, int64_t n);

/// dst += src[i] * *factor, rounded to float32 once; all in device memory. For scalars that are summed in double.
void accumulate_doubles(Stream& stream, float* dst, const double* src, const double* factor, int64_t n);

/// dst[i] = src[i], exactly.
void widen(Stream& stream, const float* src, double* dst, int64_t n);

struct SumRowsArgs {
  const void* x = nullptr;  ///< dtype [rows, cols]
  SumTarget out;            ///< [cols]
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;  ///< of x, in elements; >= cols
  DType dtype = DType::kFloat32;
};

/// out[c]: sum over rows of x[r, c] (bias gradients). Sums in blocks of rows, whatever the number of threads.
/// Uses the stream's scratch.
void sum_rows(Stream& stream, const SumRowsArgs& args);

struct AddPositionsArgs {
  void* x = nullptr;           ///< dtype [batch, seq, cols], x += pos
  const float* pos = nullptr;  ///< [seq, cols], contiguous
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t cols = 0;
  int64_t batch_stride = 0;  ///< of x, in elements
  int64_t row_stride = 0;    ///< of x, in elements
  DType dtype = DType::kFloat32;
};

/// x[b, s, c] += pos[s, c].
void add_positions(Stream& stream, const AddPositionsArgs& args);

struct SumPositionsArgs {
  const void* dx = nullptr;  ///< dtype [batch, seq, cols]
  float* dpos = nullptr;     ///< [seq, cols], +=
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t cols = 0;
  int64_t batch_stride = 0;  ///< of dx, in elements
  int64_t row_stride = 0;    ///< of dx, in elements
  DType dtype = DType::kFloat32;
};

/// add_positions' backward: dpos[s, c] += sum over b of dx[b, s, c].
void sum_positions(Stream& stream, const SumPositionsArgs& args);

}  // namespace triptych::kernels
