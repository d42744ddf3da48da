#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "kernels/strided.h"

// What the implementations of strided share.

namespace triptych::kernels {

/// The dims over which some arrays are gone through together, INNERMOST first, with the strides of each array. What is
/// constexpr is for device code too.
template <int kArrays>
struct StridedDims {
  int rank = 1;                          ///< at least 1
  int64_t sizes[kMaxStridedDims] = {1};  ///< innermost first
  int64_t strides[kArrays][kMaxStridedDims] = {};

  /// One for each array, in elements.
  struct Offsets {
    int64_t of[kArrays];
  };

  /// Of element i, in row-major order, of the dims from kFirst outwards.
  template <int kFirst>
  constexpr Offsets offsets_from(int64_t i) const {
    Offsets result{};
    for (int dim = kFirst; dim < kMaxStridedDims; ++dim) {
      if (dim >= rank) break;
      const bool is_outermost = dim == rank - 1;  // which needs no division
      const int64_t at = is_outermost ? i : i % sizes[dim];
      for (int array = 0; array < kArrays; ++array) result.of[array] += at * strides[array][dim];
      if (!is_outermost) i /= sizes[dim];
    }
    return result;
  }
  /// Of the first element of row `row`, a row being what the innermost dim holds.
  constexpr Offsets row_offsets(int64_t row) const { return offsets_from<1>(row); }

  constexpr int64_t num_rows() const {
    int64_t rows = 1;
    for (int dim = 1; dim < rank; ++dim) rows *= sizes[dim];
    return rows;
  }
  constexpr int64_t num_elements() const { return sizes[0] * num_rows(); }
};

/// Checks the contract of dims and strides, leaves out dims of 1, and joins neighbours that every array holds without a
/// gap between: so that few dims, and long rows, remain. Of no elements: one dim of 0.
template <std::size_t kArrays>
StridedDims<static_cast<int>(kArrays)> merge_dims(std::span<const int64_t> sizes,
                                                  const std::array<std::span<const int64_t>, kArrays>& strides) {
  TRIPTYCH_CHECK(sizes.size() <= kMaxStridedDims, "a view has at most {} dims, found {}", kMaxStridedDims,
                 sizes.size());
  for (const auto& of_array : strides) {
    TRIPTYCH_CHECK(of_array.size() == sizes.size(), "{} strides for {} dims", of_array.size(), sizes.size());
  }
  StridedDims<static_cast<int>(kArrays)> result;
  int rank = 0;
  for (std::size_t dim = sizes.size(); dim-- > 0;) {
    TRIPTYCH_CHECK(sizes[dim] >= 0, "dim {} has size {}", dim, sizes[dim]);
    if (sizes[dim] == 1) continue;
    bool joins = rank > 0;
    for (std::size_t array = 0; joins && array < kArrays; ++array) {
      joins = strides[array][dim] == result.sizes[rank - 1] * result.strides[array][rank - 1];
    }
    if (joins) {
      result.sizes[rank - 1] *= sizes[dim];
      continue;
    }
    result.sizes[rank] = sizes[dim];
    for (std::size_t array = 0; array < kArrays; ++array) result.strides[array][rank] = strides[array][dim];
    ++rank;
  }
  result.rank = rank > 0 ? rank : 1;
  if (result.num_elements() == 0) {
    result.rank = 1;
    result.sizes[0] = 0;
  }
  return result;
}

/// What sum_strided goes through.
struct StridedSum {
  StridedDims<1> kept, summed;
  int64_t num_kept, num_summed;
};

inline StridedSum resolve_sum(const SumStridedArgs& args) {
  TRIPTYCH_CHECK(args.num_kept >= 0 && args.num_kept <= static_cast<int>(args.dims.size()), "{} of {} dims kept",
                 args.num_kept, args.dims.size());
  TRIPTYCH_CHECK(args.strides.size() == args.dims.size(), "{} strides for {} dims", args.strides.size(),
                 args.dims.size());
  TRIPTYCH_CHECK(args.out_dtype == args.dtype || args.out_dtype == DType::kFloat32, "sums of {} as {}",
                 dtype_name(args.dtype), dtype_name(args.out_dtype));
  const auto count = static_cast<std::size_t>(args.num_kept);
  const auto kept = merge_dims<1>(args.dims.first(count), {args.strides.first(count)});
  const auto summed = merge_dims<1>(args.dims.subspan(count), {args.strides.subspan(count)});
  return {kept, summed, kept.num_elements(), summed.num_elements()};
}

}  // namespace triptych::kernels
