#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

// Kernels over views: arrays of up to kMaxStridedDims dims, outermost first, with a stride in elements for each. A
// stride may be 0, where the view repeats an element (broadcasting), or negative; no dim at all is one element. What
// the spans are of is borrowed for the call.

inline constexpr int kMaxStridedDims = 6;

struct CopyStridedArgs {
  const void* src = nullptr;
  void* dst = nullptr;  ///< overlaps neither src nor itself: no stride of 0 but for a dim of 1
  std::span<const int64_t> dims;
  std::span<const int64_t> src_strides;
  std::span<const int64_t> dst_strides;
  int64_t element_bytes = 0;  ///< 1, 2, 4 or 8, to which src and dst are aligned
};

/// dst = src, bit by bit.
void copy_strided(Stream& stream, const CopyStridedArgs& args);

struct BinaryStridedArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  void* out = nullptr;  ///< contiguous; may be a or b where that one is contiguous too
  std::span<const int64_t> dims;
  std::span<const int64_t> a_strides;
  std::span<const int64_t> b_strides;
  DType dtype = DType::kFloat32;  ///< of all three: float32, bfloat16 or (on a GPU) float16
};

/// out = a + b, element by element, in float32 and rounded once.
void add_strided(Stream& stream, const BinaryStridedArgs& args);
/// out = a * b.
void multiply_strided(Stream& stream, const BinaryStridedArgs& args);

struct SumStridedArgs {
  const void* x = nullptr;
  std::span<const int64_t> dims;
  std::span<const int64_t> strides;
  int num_kept = 0;                   ///< how many of the dims, the first ones, are kept; the others are summed
  void* out = nullptr;                ///< out_dtype, the kept dims, contiguous; does not overlap x
  float factor = 1.0f;                ///< of the sums, before they are rounded
  bool assign = true;                 ///< else the sums are added to what is in `out`
  DType dtype = DType::kFloat32;      ///< of x: float32, bfloat16 or (on a GPU) float16
  DType out_dtype = DType::kFloat32;  ///< float32 or x's
};

/// out = factor * (the sum over the dims that are not kept) (+ out). Of no elements the sum is 0. Sums in float32 or
/// wider, in an order that depends on dims and strides alone, and rounds once. Uses the stream's scratch.
///
/// So with strides put in another order it sums over any dims: a mean with factor = 1 / count, and the gradient of what
/// was broadcast.
void sum_strided(Stream& stream, const SumStridedArgs& args);

}  // namespace triptych::kernels
