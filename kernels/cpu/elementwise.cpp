#include "kernels/elementwise.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/strided.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sum_rows.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void cast_range(const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t begin, int64_t end) {
  with_float_type(src_dtype, [&](auto src_type) HWY_ATTR {
    with_float_type(dst_dtype, [&](auto dst_type) HWY_ATTR {
      convert(static_cast<const decltype(src_type)*>(src) + begin, static_cast<decltype(dst_type)*>(dst) + begin,
              end - begin);
    });
  });
}

void add_into_range(void* dst, const void* src, int64_t begin, int64_t end, DType dtype) {
  with_float_type(dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* from = static_cast<const T*>(src);
    T* to = static_cast<T*>(dst);
    for_vectors(end - begin, [&](int64_t j, auto part) HWY_ATTR {
      const int64_t i = begin + j;
      store(hn::Add(load(to + i, part), load(from + i, part)), to + i, part);
    });
  });
}

void scale_range(const void* src, void* dst, float factor, int64_t begin, int64_t end, DType dtype) {
  with_float_type(dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* from = static_cast<const T*>(src) + begin;
    T* to = static_cast<T*>(dst) + begin;
    const Vec f = hn::Set(kFloats, factor);
    for_vectors(end - begin,
                [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(f, load(from + i, part)), to + i, part); });
  });
}

void scale_by_range(float* dst, float factor, int64_t begin, int64_t end) {
  const Vec f = hn::Set(kFloats, factor);
  for_vectors(end - begin, [&](int64_t j, auto part)
                               HWY_ATTR { store(hn::Mul(f, load(dst + begin + j, part)), dst + begin + j, part); });
}

/// The sums over rows [begin, end).
void sum_rows_block(const SumRowsArgs& args, int64_t begin, int64_t end, SumTarget out) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    const auto* x = static_cast<const decltype(type)*>(args.x) + begin * args.row_stride;
    if (out.assign) {
      sum_rows_into<false>(x, end - begin, args.cols, args.row_stride, 1.0f, out.data);
    } else {
      sum_rows_into<true>(x, end - begin, args.cols, args.row_stride, 1.0f, out.data);
    }
  });
}

void add_positions_rows(const AddPositionsArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / args.seq, s = row % args.seq;
      T* x = static_cast<T*>(args.x) + b * args.batch_stride + s * args.row_stride;
      const float* pos = args.pos + s * args.cols;
      for_vectors(args.cols, [&](int64_t i, auto part)
                                 HWY_ATTR { store(hn::Add(load(x + i, part), load(pos + i, part)), x + i, part); });
    }
  });
}

void sum_positions_rows(const SumPositionsArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for (int64_t s = begin; s < end; ++s) {
      sum_rows_into<true>(static_cast<const decltype(type)*>(args.dx) + s * args.row_stride, args.batch, args.cols,
                          args.batch_stride, 1.0f, args.dpos + s * args.cols);
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(cast_range);
HWY_EXPORT(add_into_range);
HWY_EXPORT(scale_range);
HWY_EXPORT(scale_by_range);
HWY_EXPORT(sum_rows_block);
HWY_EXPORT(add_positions_rows);
HWY_EXPORT(sum_positions_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

/// f(float, BFloat16 or Float16 value): what is plain enough has float16 too.
template <typename F>
void with_storage_type(DType dtype, const char* kernel, const F& f) {
  if (dtype == DType::kFloat16) {
    f(Float16());
  } else {
    check_float_dtype(dtype, kernel);
    dtype == DType::kBFloat16 ? f(BFloat16()) : f(float());
  }
}

}  // namespace

void cast(Stream& stream, const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t n) {
  if (src_dtype == DType::kFloat16 || dst_dtype == DType::kFloat16) {
    with_storage_type(src_dtype, "cast", [&](auto src_type) {
      with_storage_type(dst_dtype, "cast", [&](auto dst_type) {
        using Dst = decltype(dst_type);
        const auto* from = static_cast<const decltype(src_type)*>(src);
        parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) static_cast<Dst*>(dst)[i] = Dst(static_cast<float>(from[i]));
        });
      });
    });
    return;
  }
  check_float_dtype(src_dtype, "cast");
  check_float_dtype(dst_dtype, "cast");
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(cast_range)(src, src_dtype, dst, dst_dtype, begin, end);
  });
}

void fill(Stream& stream, void* dst, float value, int64_t n, DType dtype) {
  with_storage_type(dtype, "fill", [&](auto type) {
    auto* to = static_cast<decltype(type)*>(dst);
    parallel_ranges(stream, n, kGrainElements,
                    [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, decltype(type)(value)); });
  });
}

void copy_rows(Stream& stream, const CopyRowsArgs& args) {
  if (args.rows <= 0 || args.row_bytes <= 0) return;
  const std::array<int64_t, 2> dims{args.rows, args.row_bytes};
  const std::array<int64_t, 2> src_strides{args.src_stride_bytes, 1}, dst_strides{args.dst_stride_bytes, 1};
  copy_strided(stream, {args.src, args.dst, dims, src_strides, dst_strides, 1});
}

void add_into(Stream& stream, void* dst, const void* src, int64_t n, DType dtype) {
  check_float_dtype(dtype, "add_into");
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_into_range)(dst, src, begin, end, dtype);
  });
}

void scale(Stream& stream, const void* src, void* dst, float factor, int64_t n, DType dtype) {
  check_float_dtype(dtype, "scale");
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(scale_range)(src, dst, factor, begin, end, dtype);
  });
}

void scale_by(Stream& stream, float* dst, const double* factor, int64_t n) {
  if (*factor == 1.0) return;
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(scale_by_range)(dst, static_cast<float>(*factor), begin, end);
  });
}

void accumulate_doubles(Stream&, float* dst, const double* src, const double* factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(static_cast<double>(dst[i]) + src[i] * *factor);
}

void widen(Stream&, const float* src, double* dst, int64_t n) {
  std::copy(src, src + n, dst);
}

void sum_rows(Stream& stream, const SumRowsArgs& args) {
  check_float_dtype(args.dtype, "sum_rows");
  TRIPTYCH_CHECK(args.row_stride >= args.cols, "Rows of {} elements overlap with a stride of {}.", args.cols,
                 args.row_stride);
  if (args.cols <= 0) return;
  // Blocks of rows have their own sums, added up at the end. Their size depends on the rows alone.
  const int64_t block_rows = std::max<int64_t>(256, (args.rows + 255) / 256);
  const int64_t num_blocks = (args.rows + block_rows - 1) / block_rows;
  if (num_blocks <= 1) {
    HWY_DYNAMIC_DISPATCH(sum_rows_block)(args, 0, args.rows, args.out);
    return;
  }
  auto* sums =
      reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(num_blocks * args.cols) * sizeof(float)));
  const int64_t grain = std::max<int64_t>(1, grain_rows(args.cols) / block_rows);
  parallel_ranges(stream, num_blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      HWY_DYNAMIC_DISPATCH(sum_rows_block)
      (args, block * block_rows, std::min(args.rows, (block + 1) * block_rows), {sums + block * args.cols, true});
    }
  });
  const SumRowsArgs blocks{sums, args.out, num_blocks, args.cols, args.cols, DType::kFloat32};
  HWY_DYNAMIC_DISPATCH(sum_rows_block)(blocks, 0, num_blocks, args.out);
}

void add_positions(Stream& stream, const AddPositionsArgs& args) {
  check_float_dtype(args.dtype, "add_positions");
  parallel_ranges(stream, args.batch * args.seq, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_positions_rows)(args, begin, end);
  });
}

void sum_positions(Stream& stream, const SumPositionsArgs& args) {
  check_float_dtype(args.dtype, "sum_positions");
  if (args.batch <= 0) return;
  parallel_ranges(stream, args.seq, grain_rows(args.cols * args.batch), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(sum_positions_rows)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
