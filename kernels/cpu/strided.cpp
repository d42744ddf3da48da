#include "kernels/strided.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/cpu/parallel.h"
#include "kernels/strided_dims.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/strided.cpp"
#include "kernels/cpu/simd.h"

#ifndef TRIPTYCH_KERNELS_CPU_STRIDED
#define TRIPTYCH_KERNELS_CPU_STRIDED
namespace triptych::kernels::cpu {

/// Rows of a StridedDims and a range of the elements of each.
struct RowRange {
  int64_t first_row, last_row;
  int64_t begin, end;
};

/// Sums are taken over [begin, end) of the elements that go into each, of `count` of those kept from `first` on.
struct SumRange {
  int64_t first, count;
  int64_t begin, end;
};

enum class BinaryOperation { kAdd, kMultiply };

/// At most so many sums are made at a time: those that lie side by side stay in the first-level cache.
inline constexpr int64_t kSumPanel = 1024;

/// Whether neighbours in memory belong to different sums, so that vectors hold several sums.
inline bool sums_side_by_side(const StridedSum& sum) {
  return sum.kept.strides[0][0] == 1 && sum.kept.sizes[0] > 1 &&
         !(sum.summed.strides[0][0] == 1 && sum.summed.sizes[0] >= sum.kept.sizes[0]);
}

}  // namespace triptych::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

HWY_INLINE int64_t count_of(Whole) {
  return static_cast<int64_t>(hn::Lanes(kFloats));
}
HWY_INLINE int64_t count_of(Part part) {
  return part.count;
}

/// Elements that are `stride` apart.
template <typename T, typename P>
HWY_INLINE Vec load_strided(const T* p, int64_t stride, P part) {
  if (stride == 1) return load(p, part);
  if (stride == 0) return hn::Set(kFloats, static_cast<float>(*p));
  HWY_ALIGN float buffer[kMaxLanes] = {};
  const int64_t count = count_of(part);
  for (int64_t k = 0; k < count; ++k) buffer[k] = static_cast<float>(p[k * stride]);
  return load(buffer);
}

void binary_rows(const BinaryStridedArgs& args, const StridedDims<2>& dims, const RowRange& range,
                 BinaryOperation operation) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t a_stride = dims.strides[0][0], b_stride = dims.strides[1][0];
    for (int64_t row = range.first_row; row < range.last_row; ++row) {
      const auto offsets = dims.row_offsets(row);
      const T* a = static_cast<const T*>(args.a) + offsets.of[0] + range.begin * a_stride;
      const T* b = static_cast<const T*>(args.b) + offsets.of[1] + range.begin * b_stride;
      T* out = static_cast<T*>(args.out) + row * dims.sizes[0] + range.begin;
      for_vectors(range.end - range.begin, [&](int64_t i, auto part) HWY_ATTR {
        const Vec u = load_strided(a + i * a_stride, a_stride, part);
        const Vec v = load_strided(b + i * b_stride, b_stride, part);
        store(operation == BinaryOperation::kAdd ? hn::Add(u, v) : hn::Mul(u, v), out + i, part);
      });
    }
  });
}

/// Sums that lie side by side: rows of them are added up, 64 at a time, so that the rounding grows with their number
/// over 64.
template <typename T>
void sum_side_by_side(const T* x, const StridedSum& sum, const SumRange& range, float* sums) {
  constexpr int64_t kBlock = 64;
  HWY_ALIGN float block[kSumPanel];
  std::fill(sums, sums + range.count, 0.0f);
  const T* of_kept = x + sum.kept.offsets_from<0>(range.first).of[0];
  for (int64_t first = range.begin; first < range.end; first += kBlock) {
    std::memset(block, 0, sizeof(block));
    for (int64_t i = first; i < std::min(range.end, first + kBlock); ++i) {
      const T* row = of_kept + sum.summed.offsets_from<0>(i).of[0];
      for_vectors(range.count, [&](int64_t c, auto part)
                                   HWY_ATTR { store(hn::Add(load(block + c), load(row + c, part)), block + c); });
    }
    for_vectors(range.count, [&](int64_t c, auto part)
                                 HWY_ATTR { store(hn::Add(load(sums + c, part), load(block + c)), sums + c, part); });
  }
}

/// One sum: run by run of the innermost dim.
template <typename T>
float sum_one(const T* x, const StridedSum& sum, int64_t kept, int64_t begin, int64_t end) {
  const T* of_kept = x + sum.kept.offsets_from<0>(kept).of[0];
  const int64_t size = sum.summed.sizes[0], stride = sum.summed.strides[0][0];
  double total = 0.0;
  for (int64_t i = begin; i < end;) {
    const int64_t run = std::min(end - i, size - i % size);
    const T* p = of_kept + sum.summed.offsets_from<0>(i).of[0];
    if (stride == 1) {
      total += static_cast<double>(sum_vectors(run, [&](int64_t j, auto part) HWY_ATTR { return load(p + j, part); }));
    } else {
      for (int64_t j = 0; j < run; ++j) total += static_cast<double>(static_cast<float>(p[j * stride]));
    }
    i += run;
  }
  return static_cast<float>(total);
}

void sum_range(const void* x, DType dtype, const StridedSum& sum, const SumRange& range, float* sums) {
  with_float_type(dtype, [&](auto type) HWY_ATTR {
    const auto* from = static_cast<const decltype(type)*>(x);
    if (sums_side_by_side(sum)) return sum_side_by_side(from, sum, range, sums);
    for (int64_t i = 0; i < range.count; ++i) sums[i] = sum_one(from, sum, range.first + i, range.begin, range.end);
  });
}

/// out[i] = factor * sums[i] (+ out[i]).
void leave_sums(const float* sums, int64_t count, const SumStridedArgs& args, int64_t first) {
  with_float_type(args.out_dtype, [&](auto type) HWY_ATTR {
    auto* out = static_cast<decltype(type)*>(args.out) + first;
    const Vec factor = hn::Set(kFloats, args.factor);
    for_vectors(count, [&](int64_t i, auto part) HWY_ATTR {
      const Vec sum = hn::Mul(factor, load(sums + i, part));
      store(args.assign ? sum : hn::Add(load(out + i, part), sum), out + i, part);
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(binary_rows);
HWY_EXPORT(sum_range);
HWY_EXPORT(leave_sums);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

/// f(RowRange) over all rows in parallel; over pieces of the row if there is but one.
template <int kArrays, typename F>
void parallel_rows(Stream& stream, const StridedDims<kArrays>& dims, int64_t element_bytes, const F& f) {
  const int64_t rows = dims.num_rows(), cols = dims.sizes[0];
  if (rows == 1) {
    const int64_t grain = kGrainElements * static_cast<int64_t>(sizeof(float)) / element_bytes;
    parallel_ranges(stream, cols, grain, [&](int64_t begin, int64_t end) { f(RowRange{0, 1, begin, end}); });
  } else {
    const int64_t grain = grain_rows(cols * element_bytes / static_cast<int64_t>(sizeof(float)));
    parallel_ranges(stream, rows, grain, [&](int64_t begin, int64_t end) { f(RowRange{begin, end, 0, cols}); });
  }
}

template <typename Element>
void copy_elements(const CopyStridedArgs& args, const StridedDims<2>& dims, const RowRange& range) {
  const int64_t src_stride = dims.strides[0][0], dst_stride = dims.strides[1][0];
  for (int64_t row = range.first_row; row < range.last_row; ++row) {
    const auto offsets = dims.row_offsets(row);
    const auto* from = static_cast<const Element*>(args.src) + offsets.of[0];
    auto* to = static_cast<Element*>(args.dst) + offsets.of[1];
    if (src_stride == 1 && dst_stride == 1) {
      std::memcpy(to + range.begin, from + range.begin,
                  static_cast<std::size_t>(range.end - range.begin) * sizeof(Element));
    } else {
      for (int64_t i = range.begin; i < range.end; ++i) to[i * dst_stride] = from[i * src_stride];
    }
  }
}

void binary(Stream& stream, const BinaryStridedArgs& args, const char* kernel, BinaryOperation operation) {
  check_float_dtype(args.dtype, kernel);
  const auto dims = merge_dims<2>(args.dims, {args.a_strides, args.b_strides});
  parallel_rows(stream, dims, sizeof(float), [&](const RowRange& range) {
    HWY_DYNAMIC_DISPATCH(binary_rows)(args, dims, range, operation);
  });
}

}  // namespace

void copy_strided(Stream& stream, const CopyStridedArgs& args) {
  const auto dims = merge_dims<2>(args.dims, {args.src_strides, args.dst_strides});
  const auto copy = [&](auto element) {
    parallel_rows(stream, dims, args.element_bytes,
                  [&](const RowRange& range) { copy_elements<decltype(element)>(args, dims, range); });
  };
  switch (args.element_bytes) {
    case 1:
      return copy(uint8_t());
    case 2:
      return copy(uint16_t());
    case 4:
      return copy(uint32_t());
    case 8:
      return copy(uint64_t());
    default:
      TRIPTYCH_CHECK(false, "elements of {} bytes", args.element_bytes);
  }
}

void add_strided(Stream& stream, const BinaryStridedArgs& args) {
  binary(stream, args, "add_strided", BinaryOperation::kAdd);
}

void multiply_strided(Stream& stream, const BinaryStridedArgs& args) {
  binary(stream, args, "multiply_strided", BinaryOperation::kMultiply);
}

void sum_strided(Stream& stream, const SumStridedArgs& args) {
  check_float_dtype(args.dtype, "sum_strided");
  const StridedSum sum = resolve_sum(args);
  if (sum.num_kept == 0) return;
  // A piece is some neighbouring sums over one chunk of what goes into them; more chunks only where the sums are few.
  const bool has_chunks = sum.num_kept <= 4096;
  const int64_t chunk =
      has_chunks ? std::max<int64_t>(512, ceil_div(sum.num_summed, 256)) : std::max<int64_t>(1, sum.num_summed);
  const int64_t num_chunks = std::max<int64_t>(1, ceil_div(sum.num_summed, chunk));
  const int64_t row = sum.kept.sizes[0];
  const int64_t panel = sums_side_by_side(sum) ? kSumPanel : std::min(kSumPanel, grain_rows(sum.num_summed));
  const int64_t panels_per_row = ceil_div(row, panel);
  const int64_t num_panels = sum.num_kept / row * panels_per_row;
  float* const partials = num_chunks == 1 ? nullptr
                                          : reinterpret_cast<float*>(stream.scratch(
                                                static_cast<std::size_t>(num_chunks * sum.num_kept) * sizeof(float)));
  const int64_t grain = grain_rows(std::min(row, panel) * std::min(chunk, sum.num_summed));
  parallel_ranges(stream, num_chunks * num_panels, grain, [&](int64_t first_piece, int64_t last_piece) {
    float sums[kSumPanel];
    for (int64_t piece = first_piece; piece < last_piece; ++piece) {
      const int64_t in_chunk = piece / num_panels, in_panel = piece % num_panels;
      const int64_t column = in_panel % panels_per_row * panel;
      const SumRange range{in_panel / panels_per_row * row + column, std::min(panel, row - column), in_chunk * chunk,
                           std::min(sum.num_summed, (in_chunk + 1) * chunk)};
      float* const to = partials == nullptr ? sums : partials + in_chunk * sum.num_kept + range.first;
      HWY_DYNAMIC_DISPATCH(sum_range)(args.x, args.dtype, sum, range, to);
      if (partials == nullptr) HWY_DYNAMIC_DISPATCH(leave_sums)(sums, range.count, args, range.first);
    }
  });
  if (partials == nullptr) return;
  for (int64_t in_chunk = 1; in_chunk < num_chunks; ++in_chunk) {
    for (int64_t i = 0; i < sum.num_kept; ++i) partials[i] += partials[in_chunk * sum.num_kept + i];
  }
  HWY_DYNAMIC_DISPATCH(leave_sums)(partials, sum.num_kept, args, 0);
}

}  // namespace triptych::kernels
#endif
