#include <array>

#include "device/cuda/handles.h"
#include "kernels/cuda/common.cuh"
#include "kernels/elementwise.h"
#include "kernels/strided.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <typename Src, typename Dst>
struct Cast {
  const Src* src;
  Dst* dst;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    store(load<N>(src + i, piece), dst + i, piece);
  }
};

template <typename T>
struct Fill {
  T* dst;
  float value;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> values;
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = value;
    store(values, dst + i, piece);
  }
};

template <typename T>
struct AddInto {
  T* dst;
  const T* src;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> sum = load<N>(dst + i, piece);
    const Floats<N> added = load<N>(src + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += added[k];
    store(sum, dst + i, piece);
  }
};

template <typename T>
struct Scale {
  const T* src;
  T* dst;
  float factor;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> values = load<N>(src + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] *= factor;
    store(values, dst + i, piece);
  }
};

struct ScaleBy {
  float* dst;
  const double* factor;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    const float f = static_cast<float>(*factor);
    if (f == 1.0f) return;  // of most steps, the clipping's and the loss scale's
    Floats<N> values = load<N>(dst + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] *= f;
    store(values, dst + i, piece);
  }
};

// The kernels of doubles are for scalars, a few at a time: an element a thread.

struct AccumulateDoubles {
  float* dst;
  const double* src;
  const double* factor;
  __device__ void operator()(int64_t i, Piece<1>) const {
    // Two roundings in double, as on the CPU, and one to float32.
    dst[i] = static_cast<float>(__dadd_rn(static_cast<double>(dst[i]), __dmul_rn(src[i], *factor)));
  }
};

struct Widen {
  const float* src;
  double* dst;
  __device__ void operator()(int64_t i, Piece<1>) const { dst[i] = static_cast<double>(src[i]); }
};

/// x[b, s, c] += pos[s, c], a row of [batch, seq] at a time.
template <typename T>
struct AddPositions {
  T* x;
  const float* pos;
  int64_t seq;
  int64_t cols;
  int64_t batch_stride;
  int64_t row_stride;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t b = row / seq, s = row % seq;
    T* at = x + b * batch_stride + s * row_stride + c;
    Floats<N> sum = load<N>(at, piece);
    const Floats<N> added = load<N>(pos + s * cols + c, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += added[k];
    store(sum, at, piece);
  }
};

}  // namespace

void cast(Stream& stream, const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t n) {
  with_float_type(src_dtype, "cast", [&](auto src_tag) {
    with_float_type(dst_dtype, "cast", [&](auto dst_tag) {
      using Src = typename decltype(src_tag)::Type;
      using Dst = typename decltype(dst_tag)::Type;
      launch_each_piece<kVectorSize<Src, Dst>>(stream, "cast", n, aligned_16({src, dst}),
                                               Cast<Src, Dst>{static_cast<const Src*>(src), static_cast<Dst*>(dst)});
    });
  });
}

void fill(Stream& stream, void* dst, float value, int64_t n, DType dtype) {
  with_float_type(dtype, "fill", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch_each_piece<kVectorSize<T>>(stream, "fill", n, aligned_16({dst}), Fill<T>{static_cast<T*>(dst), value});
  });
}

void copy_rows(Stream& stream, const CopyRowsArgs& args) {
  if (args.rows <= 0 || args.row_bytes <= 0) return;
  if (args.src_stride_bytes == args.row_bytes && args.dst_stride_bytes == args.row_bytes) {
    TRIPTYCH_CUDA(cudaMemcpyAsync(args.dst, args.src, static_cast<std::size_t>(args.rows * args.row_bytes),
                                  cudaMemcpyDeviceToDevice, cuda_stream(stream)));
    return;
  }
  const std::array<int64_t, 2> dims{args.rows, args.row_bytes};
  const std::array<int64_t, 2> src_strides{args.src_stride_bytes, 1}, dst_strides{args.dst_stride_bytes, 1};
  copy_strided(stream, {args.src, args.dst, dims, src_strides, dst_strides, 1});
}

void add_into(Stream& stream, void* dst, const void* src, int64_t n, DType dtype) {
  with_float_type(dtype, "add_into", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch_each_piece<kVectorSize<T>>(stream, "add_into", n, aligned_16({dst, src}),
                                      AddInto<T>{static_cast<T*>(dst), static_cast<const T*>(src)});
  });
}

void scale(Stream& stream, const void* src, void* dst, float factor, int64_t n, DType dtype) {
  with_float_type(dtype, "scale", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch_each_piece<kVectorSize<T>>(stream, "scale", n, aligned_16({src, dst}),
                                      Scale<T>{static_cast<const T*>(src), static_cast<T*>(dst), factor});
  });
}

void scale_by(Stream& stream, float* dst, const double* factor, int64_t n) {
  launch_each_piece<4>(stream, "scale_by", n, aligned_16({dst}), ScaleBy{dst, factor});
}

void accumulate_doubles(Stream& stream, float* dst, const double* src, const double* factor, int64_t n) {
  launch_each_piece<1>(stream, "accumulate_doubles", n, true, AccumulateDoubles{dst, src, factor});
}

void widen(Stream& stream, const float* src, double* dst, int64_t n) {
  launch_each_piece<1>(stream, "widen", n, true, Widen{src, dst});
}

void add_positions(Stream& stream, const AddPositionsArgs& args) {
  with_float_type(args.dtype, "add_positions", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const bool aligned =
        aligned_16({args.x, args.pos}, {args.batch_stride * kBytes, args.row_stride * kBytes, args.cols * kBytes});
    launch_each_row_piece<kVectorSize<T>>(
        stream, "add_positions", args.batch * args.seq, args.cols, aligned,
        AddPositions<T>{static_cast<T*>(args.x), args.pos, args.seq, args.cols, args.batch_stride, args.row_stride});
  });
}

}  // namespace triptych::kernels
