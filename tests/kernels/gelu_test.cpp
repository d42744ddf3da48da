#include "kernels/gelu.h"

#include <limits>

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

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
  test::for_cases([]<typename T>(Device& device, T) {
    for (const int64_t n : {0, 1, 7, 65, 257, 50021}) {
      SCOPED_TRACE(n);
      const std::vector<T> h = test::normals<T>(n, "h", 0.0, 2.0), da = test::normals<T>(n, "da");
      std::vector<double> a_expected, dh_expected;
      for (std::size_t i = 0; i < h.size(); ++i) {
        const double x = static_cast<double>(static_cast<float>(h[i]));
        a_expected.push_back(gelu(x));
        dh_expected.push_back(gelu_derivative(x) * static_cast<double>(static_cast<float>(da[i])));
      }
      DeviceArray<T> input(device, h), gradient(device, da), a(device, n), dh(device, n), a_again(device, n);
      gelu_forward(device.stream(), input.data(), a.data(), n, dtype_of<T>);
      const double limit = test::tolerance(dtype_of<T>).local;
      test::expect_close(a.host(), a_expected, limit, "a");
      gelu_backward(device.stream(), {input.data(), gradient.data(), dh.data(), a_again.data(), n, dtype_of<T>});
      test::expect_close(dh.host(), dh_expected, limit, "dh");
      EXPECT_TRUE(test::same_bits(a.host(), a_again.host()));
      gelu_backward(device.stream(), {input.data(), gradient.data(), gradient.data(), nullptr, n, dtype_of<T>});
      EXPECT_TRUE(test::same_bits(gradient.host(), dh.host())) << "dh over da";
      gelu_forward(device.stream(), input.data(), input.data(), n, dtype_of<T>);
      EXPECT_TRUE(test::same_bits(input.host(), a.host())) << "a over h";
    }
  });
}

/// Arrays that begin anywhere give the bits of those that begin at a vector's boundary.
TEST(Gelu, AlignmentChangesNothing) {
  test::for_cases([]<typename T>(Device& device, T) {
    const int64_t n = 203;
    const std::vector<T> h = test::normals<T>(n, "h", 0.0, 2.0);
    const DeviceArray<T> input(device, h);
    DeviceArray<T> aligned(device, n), shifted(device, n);
    gelu_forward(device.stream(), input.data(), aligned.data(), n, dtype_of<T>);
    gelu_forward(device.stream(), input.data() + 1, shifted.data() + 1, n - 1, dtype_of<T>);
    gelu_forward(device.stream(), input.data(), shifted.data(), 1, dtype_of<T>);
    EXPECT_TRUE(test::same_bits(aligned.host(), shifted.host()));
  });
}

/// Near zero, in both tails and beyond, where a norm over normals would not look: relative precision holds down to -5.
/// Below -1 the exponent x^2 / 2, up to 12.5, is itself rounded, which its exponential shows as so many roundings.
TEST(Gelu, HoldsPrecisionInTheTails) {
  test::for_devices([](Device& device) {
    std::vector<float> h;
    for (float x = -12.0f; x <= 12.0f; x += 0.0037f) h.push_back(x);
    for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-8f, -100.0f, 100.0f, 3e38f}) h.push_back(x);
    const auto n = static_cast<int64_t>(h.size());
    DeviceArray<float> out(device, h);
    gelu_forward(device.stream(), out.data(), out.data(), n, DType::kFloat32);
    const std::vector<float> a = out.host();
    const test::Tolerance limit = test::tolerance(DType::kFloat32);
    for (std::size_t i = 0; i < h.size(); ++i) {
      const double expected = gelu(static_cast<double>(h[i])), error = std::abs(static_cast<double>(a[i]) - expected);
      const double allowed = h[i] < -1.0f ? limit.summed : limit.local;
      EXPECT_LE(error, allowed * (h[i] < -5.0f ? 1e-5 : std::abs(expected))) << h[i];
    }
    const std::vector<float> ends{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
    DeviceArray<float> of_ends(device, ends);
    gelu_forward(device.stream(), of_ends.data(), of_ends.data(), 2, DType::kFloat32);
    EXPECT_TRUE(std::isnan(of_ends.host()[1]));
  });
}

TEST(Gelu, OracleGradientIsTheDerivative) {
  for (const double x : {-3.0, -0.75, 0.0, 0.5, 2.0}) {
    const auto difference = test::central_differences([](const std::vector<double>& at) { return gelu(at[0]); }, {x});
    EXPECT_NEAR(gelu_derivative(x), difference[0], test::kDifferenceError);
  }
}

}  // namespace
}  // namespace triptych::test
