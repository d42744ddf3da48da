#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "base/dtype.h"
#include "base/philox.h"
#include "device/device.h"
#include "tests/support/device_array.h"
#include "tests/support/tolerance.h"

namespace triptych::test {

/// Values of a normal distribution, rounded to T. They are kept, since each instruction set and number of threads is
/// tested with the same: unoptimized, most of the time would be theirs.
template <typename T>
const std::vector<T>& normals(int64_t n, std::string_view purpose, double mean = 0.0, double std = 1.0) {
  static std::map<std::tuple<int64_t, std::string, double, double>, std::vector<T>> made;
  const auto [at, is_new] = made.try_emplace({n, std::string(purpose), mean, std});
  if (!is_new) return at->second;
  std::vector<T>& values = at->second;
  values.reserve(static_cast<std::size_t>(n));
  const RandomKey key = random_key(7, purpose, 0);
  for (int64_t i = 0; i < n; ++i) {
    values.push_back(T(static_cast<float>(mean + std * philox_normal(key, static_cast<uint64_t>(i)))));
  }
  return values;
}

template <typename T>
std::vector<double> to_doubles(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T value : values) result.push_back(static_cast<double>(static_cast<float>(value)));
  return result;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// relative_error of T values, against a tolerance of the table.
template <typename T>
void expect_close(const std::vector<T>& actual, const std::vector<double>& expected, double limit, const char* what) {
  EXPECT_LE(relative_error(to_doubles(actual), expected), limit) << what;
}

/// df/dx[i] by central differences in double.
inline std::vector<double> central_differences(const std::function<double(const std::vector<double>&)>& f,
                                               std::vector<double> x) {
  std::vector<double> gradient;
  for (double& value : x) {
    const double kept = value, h = 1e-5;
    value = kept + h;
    const double above = f(x);
    value = kept - h;
    const double below = f(x);
    value = kept;
    gradient.push_back((above - below) / (2.0 * h));
  }
  return gradient;
}

/// What central differences with h = 1e-5 of functions of order 1 leave: h^2 and 2^-53 / h.
inline constexpr double kDifferenceError = 1e-8;

/// Runs `test(device)` on each variant of the backend that the tests are linked with: on the CPU with one thread and
/// with three, for every instruction set that the kernels are compiled for and this machine has; under CUDA once.
void for_devices(const std::function<void(Device&)>& test);
/// Numbers of threads to compare results over; one under CUDA.
std::vector<int> thread_counts();
/// The types that activations have in this backend's kernels.
inline constexpr bool kHasFloat16 =
#ifdef TRIPTYCH_TEST_FLOAT16
    true;
#else
    false;
#endif

/// The same types as values.
inline std::vector<DType> activation_dtypes() {
  std::vector<DType> dtypes{DType::kFloat32, DType::kBFloat16};
  if (kHasFloat16) dtypes.push_back(DType::kFloat16);
  return dtypes;
}

/// for_devices with `test(device, T())` for each of the types that activations have.
template <typename Test>
void for_cases(const Test& test) {
  for_devices([&](Device& device) {
    {
      SCOPED_TRACE("float32");
      test(device, float());
    }
    {
      SCOPED_TRACE("bfloat16");
      test(device, BFloat16());
    }
    if constexpr (kHasFloat16) {
      SCOPED_TRACE("float16");
      test(device, Float16());
    }
  });
}

}  // namespace triptych::test
