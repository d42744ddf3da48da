// Kernels from one array of rows to another, in any two types: what pooling and gather share.
#pragma once

#include <string_view>

#include "kernels/cuda/common.cuh"

namespace triptych::kernels::cuda {

/// f(TypeTag<From>, TypeTag<To>) of two dtypes.
template <typename F>
void with_types(DType from, DType to, std::string_view kernel, const F& f) {
  with_float_type(from, kernel,
                  [&](auto from_tag) { with_float_type(to, kernel, [&](auto to_tag) { f(from_tag, to_tag); }); });
}

/// Launches Kernel<From, To>{from, to, rows_of_sample, cols} on the pieces of `num_rows` rows.
template <template <typename, typename> typename Kernel, typename RowsOfSample>
void launch_rows(Stream& stream, std::string_view name, int64_t num_rows, int64_t cols, const void* from,
                 DType from_dtype, void* to, DType to_dtype, RowsOfSample rows_of_sample) {
  with_types(from_dtype, to_dtype, name, [&](auto from_tag, auto to_tag) {
    using From = typename decltype(from_tag)::Type;
    using To = typename decltype(to_tag)::Type;
    constexpr int64_t kFromBytes = sizeof(From), kToBytes = sizeof(To);
    launch_each_row_piece<kVectorSize<From, To>>(
        stream, name, num_rows, cols, aligned_16({from, to}, {cols * kFromBytes, cols * kToBytes}),
        Kernel<From, To>{static_cast<const From*>(from), static_cast<To*>(to), rows_of_sample, cols});
  });
}

}  // namespace triptych::kernels::cuda
