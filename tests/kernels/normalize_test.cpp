#include "kernels/normalize.h"

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using Doubles = std::vector<double>;

Doubles normalized(const Doubles& x, std::size_t cols) {
  Doubles y;
  for (std::size_t row = 0; row < x.size(); row += cols) {
    double squares = 0;
    for (std::size_t c = 0; c < cols; ++c) squares += x[row + c] * x[row + c];
    for (std::size_t c = 0; c < cols; ++c) y.push_back(x[row + c] / std::sqrt(squares));
  }
  return y;
}

TEST(L2Normalize, AgreesWithDoubleAndItsDerivative) {
  test::for_devices([](Device& device) {
    const auto limit = test::tolerance(DType::kFloat32);
    for (const auto& [rows, cols] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 1}, {3, 7}, {5, 65}, {131, 257}, {7, 512}, {2, 1100}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      const auto x = test::normals<float>(rows * cols, "x", 0.1, 3.0), dy = test::normals<float>(rows * cols, "dy");
      const Doubles expected = normalized(test::to_doubles(x), static_cast<std::size_t>(cols));
      const DeviceArray<float> input(device, x);
      DeviceArray<float> gradient(device, dy), y(device, rows * cols), inv_norm(device, rows), dx(device, rows * cols);
      l2_normalize_forward(device.stream(), {input.data(), y.data(), inv_norm.data(), rows, cols});
      test::expect_close(y.host(), expected, limit.local, "y");
      l2_normalize_backward(device.stream(), {gradient.data(), y.data(), inv_norm.data(), dx.data(), rows, cols});
      DeviceArray<float> over_x(device, x);
      l2_normalize_forward(device.stream(), {over_x.data(), over_x.data(), inv_norm.data(), rows, cols});
      EXPECT_TRUE(test::same_bits(over_x.host(), y.host())) << "y over x";
      // The derivative of sum(dy * y), by its definition for all sizes and by differences for the small ones.
      Doubles dx_expected(x.size());
      for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        const std::size_t begin = r * static_cast<std::size_t>(cols), end = begin + static_cast<std::size_t>(cols);
        double squares = 0, dot = 0;
        for (std::size_t i = begin; i < end; ++i) {
          squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
          dot += static_cast<double>(dy[i]) * expected[i];
        }
        for (std::size_t i = begin; i < end; ++i) {
          dx_expected[i] = (static_cast<double>(dy[i]) - expected[i] * dot) / std::sqrt(squares);
        }
      }
      // A row of one element gives nothing but rounding errors.
      if (cols > 1) test::expect_close(dx.host(), dx_expected, limit.local, "dx");
      l2_normalize_backward(device.stream(), {gradient.data(), y.data(), inv_norm.data(), gradient.data(), rows, cols});
      EXPECT_TRUE(test::same_bits(gradient.host(), dx.host())) << "dx over dy";
      if (rows == 3) {
        const auto loss = [&](const Doubles& at) {
          const Doubles result = normalized(at, static_cast<std::size_t>(cols));
          double sum = 0;
          for (std::size_t i = 0; i < result.size(); ++i) sum += static_cast<double>(dy[i]) * result[i];
          return sum;
        };
        EXPECT_LE(test::relative_error(dx_expected, test::central_differences(loss, test::to_doubles(x))),
                  test::kDifferenceError);
      }
    }
  });
}

TEST(L2Normalize, ZerosHugeAndTinyRowsStayFinite) {
  test::for_devices([](Device& device) {
    const std::vector<float> x{0, 0, 0, 3e38f, 2e38f, 0, 3e-30f, 0, 4e-30f}, dy{1, 2, 3, 0, 0, 0, 0, 1, 0};
    DeviceArray<float> result(device, x), inv_norm(device, 3), gradient(device, dy);
    l2_normalize_forward(device.stream(), {result.data(), result.data(), inv_norm.data(), 3, 3});
    const std::vector<float> y = result.host();
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(inv_norm.host()[0], 1.0f / kMinNorm);
    EXPECT_NEAR(y[3] * y[3] + y[4] * y[4], 1.0, 4 * test::tolerance(DType::kFloat32).local);
    EXPECT_EQ(y[6], 3e-30f / kMinNorm);  // below the smallest norm: not made one
    l2_normalize_backward(device.stream(), {gradient.data(), result.data(), inv_norm.data(), gradient.data(), 3, 3});
    const std::vector<float> dx = gradient.host();
    for (const float value : dx) EXPECT_TRUE(std::isfinite(value));
    for (std::size_t i : {0, 1, 2, 6, 7, 8}) EXPECT_EQ(dx[i], dy[i] * (1.0f / kMinNorm));  // no projection
  });
}

}  // namespace
}  // namespace triptych::test
