#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/dtype.h"

namespace triptych::test {

/// How far a result may be from a double-precision oracle that was given the same inputs: the 2-norm of the difference
/// over the 2-norm of the reference. The only tolerances of the tests.
struct Tolerance {
  double local;   ///< each output from a few inputs, or from a row of them
  double summed;  ///< products and sums over many rows (matmul, attention, parameter gradients)
  double scalar;  ///< a sum that cancels, against the sum of its terms' magnitudes
};

/// float32 (unit roundoff 2^-24 = 6e-8): a kernel makes some tens of roundings one after the other, which add up like a
/// random walk, and its polynomials are good to 2e-7: 1e-6. Sums of N terms in blocks or lanes add about
/// sqrt(log2 N) to sqrt(N / lanes) roundings, and inputs that cancel make the reference small: 5e-6.
///
/// bfloat16 (unit roundoff 2^-9): results are computed in float32 and rounded once, to within 2^-9 of each; twice that,
/// 2^-8, also lets an intermediate result be rounded. Parameter gradients are float32 sums of bfloat16 inputs that the
/// oracle has too, so `summed` differs from `local` only where an intermediate is stored as bfloat16: 2^-7.
///
/// float16 (unit roundoff 2^-11): as bfloat16, with three more bits.
///
/// Scalars that cancel (the temperature's gradient, a loss difference) keep the float32 error of their terms: 1e-6.
constexpr Tolerance tolerance(DType dtype) {
  if (dtype == DType::kBFloat16) return {0x1p-8, 0x1p-7, 1e-6};
  if (dtype == DType::kFloat16) return {0x1p-11 * 2, 0x1p-10 * 2, 1e-6};
  return {1e-6, 5e-6, 1e-6};
}

/// What another library computes of a whole model in float32, against ours: the largest difference over the largest
/// magnitude. Both round, in orders of their own, some hundred times one after the other from pixels to logits: with
/// float32 6e-8 * sqrt(100), some ten times that where a norm or a softmax multiplies what was lost before it. An
/// epsilon or an approximation of GELU that differs changes more.
constexpr double kBetweenLibraries = 1e-5;

/// A loss, or a parameter's gradient, on several ranks against one rank, in float32: the same terms in another order,
/// through some tens of operations one after the other. A summand that is left out, or is counted twice, changes more.
constexpr double kBetweenMeshes = 1e-5;

/// A weight after some tens of updates on several ranks against one rank: AdamW makes steps of one size of gradients of
/// any, so that of the smallest ones, which cancel most, the rounding is seen as well.
constexpr double kAfterManySteps = 1e-4;

/// The slope of a whole model's float32 loss, by central differences, against its gradient: a loss is good to some 1e-7
/// of itself, and a step that is small enough for the fourth order changes it by some 1e-4 of itself.
constexpr double kOfSlope = 1e-2;

/// A metric in double precision against another library's: the same few thousand terms, summed in another order, 1e-16
/// of their size each time. A term that is left out changes more.
constexpr double kBetweenDoubles = 1e-12;

/// A minimum in double precision against another library's, both found until no element of the gradient is above 1e-10:
/// where the curvature is at least 0.05, no further from it than 1e-10 / 0.05 for each of some ten parameters.
constexpr double kBetweenMinima = 1e-8;

/// 2-norm of (actual - expected) over the 2-norm of expected; 0 if both are all zeros; infinite if a value is not
/// finite or if only expected is all zeros.
template <typename Actual, typename Expected>
double relative_error(const Actual& actual, const Expected& expected) {
  if (std::size(actual) != std::size(expected)) return std::numeric_limits<double>::infinity();
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    const double e = static_cast<double>(expected[i]);
    const double d = static_cast<double>(actual[i]) - e;
    difference += d * d;
    norm += e * e;
  }
  if (difference == 0.0) return 0.0;
  if (!std::isfinite(difference) || norm == 0.0) return std::numeric_limits<double>::infinity();
  return std::sqrt(difference / norm);
}

}  // namespace triptych::test
