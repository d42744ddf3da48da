#include "kernels/softmax.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using Doubles = std::vector<double>;

/// The probabilities of each row, or their logarithms.
Doubles softmax(const Doubles& x, std::size_t cols, bool log) {
  Doubles y;
  for (std::size_t row = 0; row < x.size(); row += cols) {
    double maximum = x[row], sum = 0;
    for (std::size_t c = 0; c < cols; ++c) maximum = std::max(maximum, x[row + c]);
    for (std::size_t c = 0; c < cols; ++c) sum += std::exp(x[row + c] - maximum);
    for (std::size_t c = 0; c < cols; ++c) {
      const double logarithm = x[row + c] - maximum - std::log(sum);
      y.push_back(log ? logarithm : std::exp(logarithm));
    }
  }
  return y;
}

template <typename T>
void check(Device& device, int64_t rows, int64_t cols, bool log) {
  SCOPED_TRACE(testing::Message() << rows << " x " << cols << (log ? ", log" : ""));
  const auto forward = log ? log_softmax_forward : softmax_forward;
  const auto backward = log ? log_softmax_backward : softmax_backward;
  const auto limits = test::tolerance(dtype_of<T>);
  const auto width = static_cast<std::size_t>(cols);
  // Large enough that exp() of them overflows.
  const std::vector<T> x = test::normals<T>(rows * cols, "x", 300.0, 3.0), dy = test::normals<T>(rows * cols, "dy");
  const Doubles expected = softmax(test::to_doubles(x), width, log);
  const DeviceArray<T> input(device, x), gradient(device, dy);
  DeviceArray<T> y(device, rows * cols), over_x(device, x);
  forward(device.stream(), {input.data(), y.data(), rows, cols, dtype_of<T>});
  forward(device.stream(), {over_x.data(), over_x.data(), rows, cols, dtype_of<T>});
  // A row of one has the probability 1, whose logarithm has no digits.
  if (!log || cols > 1) test::expect_close(y.host(), expected, limits.local, "y");
  EXPECT_TRUE(test::same_bits(over_x.host(), y.host())) << "y over x";

  // By its definition from the y that the kernel is given; the chain rule of y itself is compared below.
  const Doubles result = test::to_doubles(y.host());
  Doubles dx_expected(x.size());
  for (std::size_t row = 0; row < x.size(); row += width) {
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = 0; j < width; ++j) {  // dy[j] times the derivative of y[j] by x[i]
        const double same = i == j ? 1.0 : 0.0, p_i = log ? std::exp(result[row + i]) : result[row + i];
        dx_expected[row + i] +=
            static_cast<double>(static_cast<float>(dy[row + j])) * (log ? same - p_i : result[row + j] * (same - p_i));
      }
    }
  }
  DeviceArray<T> dx(device, rows * cols), over_dy(device, dy);
  backward(device.stream(), {gradient.data(), y.data(), dx.data(), rows, cols, dtype_of<T>});
  if (cols > 1) test::expect_close(dx.host(), dx_expected, limits.summed, "dx");
  backward(device.stream(), {over_dy.data(), y.data(), over_dy.data(), rows, cols, dtype_of<T>});
  EXPECT_TRUE(test::same_bits(over_dy.host(), dx.host())) << "dx over dy";
  backward(device.stream(), {gradient.data(), y.data(), y.data(), rows, cols, dtype_of<T>});
  EXPECT_TRUE(test::same_bits(y.host(), dx.host())) << "dx over y";

  if (rows == 3) {
    const auto loss = [&](const Doubles& at) {
      const Doubles probabilities = softmax(at, width, log);
      double sum = 0;
      for (std::size_t i = 0; i < at.size(); ++i)
        sum += static_cast<double>(static_cast<float>(dy[i])) * probabilities[i];
      return sum;
    };
    EXPECT_LE(test::relative_error(dx_expected, test::central_differences(loss, test::to_doubles(x))), limits.summed);
  }
}

TEST(Softmax, AgreesWithDoubleAndItsDerivative) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
             {0, 5}, {2, 0}, {2, 1}, {3, 7}, {131, 65}, {5, 264}, {4, 521}, {2, 1031}}) {
      check<T>(device, rows, cols, false);
      check<T>(device, rows, cols, true);
    }
    EXPECT_THROW(softmax_forward(device.stream(), {.dtype = DType::kInt32}), InternalError);
  });
}

TEST(Softmax, TakesMaskedLogitsAndShowsWhatIsNoNumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  test::for_devices([](Device& device) {
    for (const int64_t cols : {5, 1031}) {
      const auto width = static_cast<std::size_t>(cols);
      std::vector<float> x(4 * width, 0.25f);
      std::fill(x.begin(), x.begin() + cols - 2, -kInfinity);  // two logits are left
      std::fill(x.begin() + cols, x.begin() + 2 * cols, -kInfinity);
      x[3 * width - 1] = kNan;
      x[3 * width + 1] = kInfinity;
      const DeviceArray<float> input(device, x);
      DeviceArray<float> y(device, 4 * cols), logarithms(device, 4 * cols);
      softmax_forward(device.stream(), {input.data(), y.data(), 4, cols});
      log_softmax_forward(device.stream(), {input.data(), logarithms.data(), 4, cols});
      const std::vector<float> p = y.host(), log_p = logarithms.host();
      for (std::size_t i = 0; i < p.size(); ++i) {
        if (i < width) {
          EXPECT_EQ(p[i], i < width - 2 ? 0.0f : 0.5f) << i;
          EXPECT_EQ(std::exp(log_p[i]), p[i]) << i;
        } else {
          EXPECT_TRUE(std::isnan(p[i])) << i;
          EXPECT_TRUE(std::isnan(log_p[i])) << i;
        }
      }
    }
  });
}

}  // namespace
}  // namespace triptych::test
