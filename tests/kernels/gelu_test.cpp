#include "kernels/gelu.h"

#include <limits>

#include "kernel_support.h"

namespace triptych {
namespace {

double phi_cumulative(double x) {
  return 0.5 * std::erfc(-x * M_SQRT1_2);
}
double gelu(double x) {
  return x * phi_cumulative(x);
}
double gelu_derivative(double x) {
  return phi_cumulative(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
}

TEST(Gelu, AgreesWithDouble) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const int64_t n : {0, 1, 7, 65, 257, 50021}) {
      SCOPED_TRACE(n);
      const std::vector<T> h = test::normals<T>(n, "h", 0.0, 2.0), da = test::normals<T>(n, "da");
      std::vector<double> a_expected, dh_expected;
      for (std::size_t i = 0; i < h.size(); ++i) {
        const double x = static_cast<double>(static_cast<float>(h[i]));
        a_expected.push_back(gelu(x));
        dh_expected.push_back(gelu_derivative(x) * static_cast<double>(static_cast<float>(da[i])));
      }
      std::vector<T> a(h.size()), dh(h.size()), a_again(h.size());
      gelu_forward(stream, h.data(), a.data(), n, dtype_of<T>);
      const double limit = test::tolerance(dtype_of<T>).local;
      test::expect_close(a, a_expected, limit, "a");
      gelu_backward(stream, {h.data(), da.data(), dh.data(), a_again.data(), n, dtype_of<T>});
      test::expect_close(dh, dh_expected, limit, "dh");
      EXPECT_TRUE(test::same_bits(a, a_again));
      std::vector<T> in_place = da;
      gelu_backward(stream, {h.data(), in_place.data(), in_place.data(), nullptr, n, dtype_of<T>});
      EXPECT_TRUE(test::same_bits(in_place, dh)) << "dh over da";
    }
  });
}

/// Near zero, in both tails and beyond, where a norm over normals would not look: relative precision holds down to -5.
/// Below -1 the exponent x^2 / 2, up to 12.5, is itself rounded, which its exponential shows as so many roundings.
TEST(Gelu, HoldsPrecisionInTheTails) {
  test::for_streams([](Stream& stream) {
    std::vector<float> h;
    for (float x = -12.0f; x <= 12.0f; x += 0.0037f) h.push_back(x);
    for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-8f, -100.0f, 100.0f, 3e38f}) h.push_back(x);
    std::vector<float> a(h.size());
    const auto n = static_cast<int64_t>(h.size());
    gelu_forward(stream, h.data(), a.data(), n, DType::kFloat32);
    const test::Tolerance limit = test::tolerance(DType::kFloat32);
    for (std::size_t i = 0; i < h.size(); ++i) {
      const double expected = gelu(static_cast<double>(h[i])), error = std::abs(static_cast<double>(a[i]) - expected);
      const double allowed = h[i] < -1.0f ? limit.summed : limit.local;
      EXPECT_LE(error, allowed * (h[i] < -5.0f ? 1e-5 : std::abs(expected))) << h[i];
    }
    const std::vector<float> ends{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
    std::vector<float> out(2);
    gelu_forward(stream, ends.data(), out.data(), 2, DType::kFloat32);
    EXPECT_TRUE(std::isnan(out[1]));
  });
}

TEST(Gelu, OracleGradientIsTheDerivative) {
  for (const double x : {-3.0, -0.75, 0.0, 0.5, 2.0}) {
    const auto difference = test::central_differences([](const std::vector<double>& at) { return gelu(at[0]); }, {x});
    EXPECT_NEAR(gelu_derivative(x), difference[0], test::kDifferenceError);
  }
}

}  // namespace
}  // namespace triptych
