#include "kernels/tanh.h"

#include <limits>

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

TEST(Tanh, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const int64_t n : {0, 1, 7, 65, 257, 50021}) {
      SCOPED_TRACE(n);
      const std::vector<T> x = test::normals<T>(n, "x", 0.0, 2.0), dy = test::normals<T>(n, "dy");
      std::vector<double> y_expected;
      for (const T value : x) y_expected.push_back(std::tanh(static_cast<double>(static_cast<float>(value))));
      DeviceArray<T> input(device, x), gradient(device, dy), y(device, n), dx(device, n);
      tanh_forward(device.stream(), input.data(), y.data(), n, dtype_of<T>);
      const double limit = test::tolerance(dtype_of<T>).local;
      test::expect_close(y.host(), y_expected, limit, "y");
      // Of the result as it is kept.
      std::vector<double> dx_expected;
      const std::vector<T> kept = y.host();
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const double result = static_cast<double>(static_cast<float>(kept[i]));
        dx_expected.push_back((1 - result * result) * static_cast<double>(static_cast<float>(dy[i])));
      }
      tanh_backward(device.stream(), {y.data(), gradient.data(), dx.data(), n, dtype_of<T>});
      test::expect_close(dx.host(), dx_expected, limit, "dx");
      tanh_backward(device.stream(), {y.data(), gradient.data(), gradient.data(), n, dtype_of<T>});
      EXPECT_TRUE(test::same_bits(gradient.host(), dx.host())) << "dx over dy";
      tanh_forward(device.stream(), input.data(), input.data(), n, dtype_of<T>);
      EXPECT_TRUE(test::same_bits(input.host(), y.host())) << "y over x";
    }
  });
}

// Where a norm over normals would not look: near zero, where tanh(x) is x, and far out.
TEST(Tanh, HoldsRelativePrecisionAndItsEnds) {
  test::for_devices([](Device& device) {
    std::vector<float> x;
    for (float value = -12.0f; value <= 12.0f; value += 0.0037f) x.push_back(value);
    for (const float value : {1e-30f, -1e-30f, 1e-8f, 1e-4f, -100.0f, 100.0f, 3e38f}) x.push_back(value);
    DeviceArray<float> out(device, x);
    tanh_forward(device.stream(), out.data(), out.data(), static_cast<int64_t>(x.size()), DType::kFloat32);
    const std::vector<float> y = out.host();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = std::tanh(static_cast<double>(x[i]));
      EXPECT_LE(std::abs(static_cast<double>(y[i]) - expected),
                test::tolerance(DType::kFloat32).local * std::abs(expected))
          << x[i];
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const std::vector<float> ends{0.0f, -0.0f, kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
    DeviceArray<float> of_ends(device, ends);
    tanh_forward(device.stream(), of_ends.data(), of_ends.data(), 5, DType::kFloat32);
    const std::vector<float> found = of_ends.host();
    EXPECT_TRUE(test::same_bits(std::vector<float>(found.begin(), found.begin() + 4), {0.0f, -0.0f, 1.0f, -1.0f}));
    EXPECT_TRUE(std::isnan(found[4]));
  });
}

}  // namespace
}  // namespace triptych::test
