#pragma once

// The targets are chosen before Highway is included.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/highway.h>
// clang-format on

#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/dtype.h"
#include "base/philox.h"
#include "device/stream.h"
#include "tests/support/tolerance.h"

namespace triptych::test {

/// Values of a normal distribution, rounded to T.
template <typename T>
std::vector<T> normals(int64_t n, std::string_view purpose, double mean = 0.0, double std = 1.0) {
  std::vector<T> values(static_cast<std::size_t>(n));
  const RandomKey key = random_key(7, purpose, 0);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(static_cast<float>(mean + std * philox_normal(key, i)));
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

/// Runs `test(stream)` with one thread and with three, for every instruction set that the kernels are compiled for and
/// this machine has.
template <typename Test>
void for_streams(const Test& test) {
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t targets = supported; targets != 0; targets &= targets - 1) {
    const int64_t target = targets & -targets;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    for (const int num_threads : {1, 3}) {
      SCOPED_TRACE(testing::Message() << hwy::TargetName(target) << ", " << num_threads << " threads");
      Stream stream(num_threads);
      test(stream);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

/// for_streams with `test(stream, T())` for both of the types that activations have.
template <typename Test>
void for_cases(const Test& test) {
  for_streams([&](Stream& stream) {
    {
      SCOPED_TRACE("float32");
      test(stream, float());
    }
    SCOPED_TRACE("bfloat16");
    test(stream, BFloat16());
  });
}

}  // namespace triptych::test
