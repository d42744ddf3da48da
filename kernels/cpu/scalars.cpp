#include "kernels/scalars.h"

#include <algorithm>

#include "base/error.h"

namespace triptych::kernels {

void count_present(Stream&, const void* values, DType dtype, int64_t n, double* count) {
  if (dtype == DType::kInt32) {
    const auto* numbers = static_cast<const int32_t*>(values);
    *count += static_cast<double>(std::count_if(numbers, numbers + n, [](int32_t x) { return x >= 0; }));
  } else if (dtype == DType::kUInt8) {
    const auto* flags = static_cast<const uint8_t*>(values);
    *count += static_cast<double>(n - std::count(flags, flags + n, uint8_t{0}));
  } else {
    throw InternalError("count_present", fmt::format("has no CPU implementation for {}", dtype_name(dtype)));
  }
}

void add_doubles(Stream&, double* dst, const double* src, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] += src[i];
}

void divide_doubles(Stream&, double* dst, const double* src, double factor, const double* by, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = *by == 0 ? 0 : factor * src[i] / *by;
}

}  // namespace triptych::kernels
