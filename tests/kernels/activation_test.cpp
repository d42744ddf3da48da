#include "kernels/activation.h"

#include <cmath>
#include <limits>

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

// As their papers write them; the kernels have them in another form.
double phi_cumulative(double x) {
  return 0.5 * std::erfc(-x * M_SQRT1_2);
}
double gelu(double x) {
  return x * phi_cumulative(x);
}
double gelu_derivative(double x) {
  return phi_cumulative(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
}
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_tanh_derivative(double x) {
  const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}
double gelu_quick(double x) {
  return x * sigmoid(1.702 * x);
}
double gelu_quick_derivative(double x) {
  const double s = sigmoid(1.702 * x);
  return s + 1.702 * x * s * (1 - s);
}
double silu(double x) {
  return x * sigmoid(x);
}
double silu_derivative(double x) {
  const double s = sigmoid(x);
  return s + x * s * (1 - s);
}

struct Ungated {
  Activation activation;
  double (*value)(double);
  double (*derivative)(double);
};
const std::vector<Ungated> kSigmoids{{Activation::kGeluTanh, gelu_tanh, gelu_tanh_derivative},
                                     {Activation::kGeluQuick, gelu_quick, gelu_quick_derivative}};
const std::vector<Ungated> kUngated{{Activation::kGelu, gelu, gelu_derivative}, kSigmoids[0], kSigmoids[1]};

TEST(Activation, OracleGradientsAreTheDerivatives) {
  std::vector<Ungated> all = kUngated;
  all.push_back({Activation::kSwiglu, silu, silu_derivative});
  for (const Ungated& of : all) {
    for (const double x : {-3.0, -0.75, 0.0, 0.5, 2.0}) {
      const auto difference =
          test::central_differences([&](const std::vector<double>& at) { return of.value(at[0]); }, {x});
      EXPECT_NEAR(of.derivative(x), difference[0], test::kDifferenceError);
    }
  }
}

TEST(Activation, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Ungated& of : kUngated) {
      for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 1}, {3, 67}, {191, 263}}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(of.activation) << ": " << rows << " x " << cols);
        const int64_t n = rows * cols;
        const std::vector<T> h = test::normals<T>(n, "h", 0.0, 2.0), da = test::normals<T>(n, "da");
        std::vector<double> a_expected, dh_expected;
        for (std::size_t i = 0; i < h.size(); ++i) {
          const double x = static_cast<double>(static_cast<float>(h[i]));
          a_expected.push_back(of.value(x));
          dh_expected.push_back(of.derivative(x) * static_cast<double>(static_cast<float>(da[i])));
        }
        DeviceArray<T> input(device, h), gradient(device, da), a(device, n), dh(device, n), again(device, n);
        activation_forward(device.stream(), {input.data(), a.data(), rows, cols, of.activation, dtype_of<T>});
        const double limit = test::tolerance(dtype_of<T>).local;
        test::expect_close(a.host(), a_expected, limit, "a");
        ActivationBackwardArgs backward{input.data(), gradient.data(), dh.data(),  again.data(), rows,
                                        cols,         of.activation,   dtype_of<T>};
        activation_backward(device.stream(), backward);
        test::expect_close(dh.host(), dh_expected, limit, "dh");
        EXPECT_TRUE(test::same_bits(a.host(), again.host())) << "a once more";
        backward.dh = gradient.data();
        backward.a = nullptr;
        activation_backward(device.stream(), backward);
        EXPECT_TRUE(test::same_bits(gradient.host(), dh.host())) << "dh over da";
        activation_forward(device.stream(), {input.data(), input.data(), rows, cols, of.activation, dtype_of<T>});
        EXPECT_TRUE(test::same_bits(input.host(), a.host())) << "a over h";
      }
    }
  });
}

TEST(Activation, SwigluAgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, cols] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 1}, {5, 67}, {7, 64}, {191, 131}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      const int64_t n = rows * cols;
      const std::vector<T> h = test::normals<T>(2 * n, "h", 0.0, 2.0), da = test::normals<T>(n, "da");
      std::vector<double> a_expected(static_cast<std::size_t>(n)), dh_expected(static_cast<std::size_t>(2 * n));
      for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        for (std::size_t c = 0; c < static_cast<std::size_t>(cols); ++c) {
          const auto width = static_cast<std::size_t>(cols);
          const std::size_t at = r * width + c, gate_at = 2 * r * width + c;
          const auto gate = static_cast<double>(static_cast<float>(h[gate_at]));
          const auto x = static_cast<double>(static_cast<float>(h[gate_at + width]));
          const auto gradient = static_cast<double>(static_cast<float>(da[at]));
          a_expected[at] = silu(gate) * x;
          dh_expected[gate_at] = gradient * silu_derivative(gate) * x;
          dh_expected[gate_at + width] = gradient * silu(gate);
        }
      }
      const DeviceArray<T> input(device, h), gradient(device, da);
      DeviceArray<T> a(device, n), dh(device, 2 * n), again(device, n), dh_alone(device, 2 * n);
      activation_forward(device.stream(), {input.data(), a.data(), rows, cols, Activation::kSwiglu, dtype_of<T>});
      const double limit = test::tolerance(dtype_of<T>).local;
      test::expect_close(a.host(), a_expected, limit, "a");
      ActivationBackwardArgs backward{input.data(), gradient.data(),     dh.data(),  again.data(), rows,
                                      cols,         Activation::kSwiglu, dtype_of<T>};
      activation_backward(device.stream(), backward);
      test::expect_close(dh.host(), dh_expected, limit, "dh");
      EXPECT_TRUE(test::same_bits(a.host(), again.host())) << "a once more";
      backward.dh = dh_alone.data();
      backward.a = nullptr;
      activation_backward(device.stream(), backward);
      EXPECT_TRUE(test::same_bits(dh_alone.host(), dh.host())) << "without a";
    }
  });
}

/// Near zero, in both tails and beyond, where a norm over normals would not look. The exponent z, up to 20, is itself
/// rounded, which its exponential shows as so many roundings; further out an error of 1e-8 of what is left of x is
/// below float32's resolution of anything that it is added to.
TEST(Activation, SigmoidsHoldPrecisionInTheTails) {
  test::for_devices([](Device& device) {
    std::vector<float> h;
    for (float x = -30.0f; x <= 30.0f; x += 0.0037f) h.push_back(x);
    for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-8f, -100.0f, 100.0f, 1e20f, -1e20f, 3e38f, -3e38f}) {
      h.push_back(x);
    }
    const auto n = static_cast<int64_t>(h.size());
    const DeviceArray<float> input(device, h), ones(device, std::vector<float>(h.size(), 1.0f));
    for (const Ungated& of : kSigmoids) {
      DeviceArray<float> a(device, n), dh(device, n);
      activation_backward(device.stream(),
                          {input.data(), ones.data(), dh.data(), a.data(), 1, n, of.activation, DType::kFloat32});
      const std::vector<float> values = a.host(), slopes = dh.host();
      const double limit = test::tolerance(DType::kFloat32).summed;
      for (std::size_t i = 0; i < h.size(); ++i) {
        const auto x = static_cast<double>(h[i]);
        const bool is_far = x < -5;
        const double expected = x < -100 ? 0 : of.value(x), slope = std::abs(x) > 100 ? x > 0 : of.derivative(x);
        EXPECT_LE(std::abs(static_cast<double>(values[i]) - expected), is_far ? 1e-8 : limit * std::abs(expected)) << x;
        EXPECT_LE(std::abs(static_cast<double>(slopes[i]) - slope), limit) << x;
      }
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const Activation activation :
         {Activation::kGelu, Activation::kGeluTanh, Activation::kGeluQuick, Activation::kSwiglu}) {
      DeviceArray<float> of_nan(device, std::vector<float>{nan, nan}), out(device, 1);
      activation_forward(device.stream(), {of_nan.data(), out.data(), 1, 1, activation, DType::kFloat32});
      EXPECT_TRUE(std::isnan(out.host()[0]));
    }
  });
}

/// Relative precision holds down to -5. Below -1 the exponent x^2 / 2, up to 12.5, is itself rounded, which its
/// exponential shows as so many roundings.
TEST(Activation, ExactGeluHoldsPrecisionInTheTails) {
  test::for_devices([](Device& device) {
    std::vector<float> h;
    for (float x = -12.0f; x <= 12.0f; x += 0.0037f) h.push_back(x);
    for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-8f, -100.0f, 100.0f, 3e38f}) h.push_back(x);
    const auto n = static_cast<int64_t>(h.size());
    const DeviceArray<float> input(device, h), ones(device, std::vector<float>(h.size(), 1.0f));
    DeviceArray<float> a(device, n), dh(device, n);
    activation_backward(device.stream(),
                        {input.data(), ones.data(), dh.data(), a.data(), 1, n, Activation::kGelu, DType::kFloat32});
    const std::vector<float> values = a.host(), slopes = dh.host();
    const test::Tolerance limit = test::tolerance(DType::kFloat32);
    for (std::size_t i = 0; i < h.size(); ++i) {
      const auto x = static_cast<double>(h[i]);
      const double allowed = x < -1 ? limit.summed : limit.local;
      EXPECT_LE(std::abs(static_cast<double>(values[i]) - gelu(x)), allowed * (x < -5 ? 1e-5 : std::abs(gelu(x)))) << x;
      if (std::abs(x) > 100) continue;
      EXPECT_LE(std::abs(static_cast<double>(slopes[i]) - gelu_derivative(x)), limit.summed) << x;
    }
  });
}

/// Arrays that begin anywhere give the bits of those that begin at a vector's boundary, and a row those that it has
/// beside others.
TEST(Activation, AlignmentChangesNothing) {
  test::for_cases([]<typename T>(Device& device, T) {
    const int64_t n = 204;
    const DeviceArray<T> input(device, test::normals<T>(2 * n, "h", 0.0, 2.0));
    for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh, Activation::kGeluQuick}) {
      DeviceArray<T> aligned(device, n), shifted(device, n);
      const auto run = [&](T* to, int64_t begin, int64_t count) {
        activation_forward(device.stream(), {input.data() + begin, to + begin, 1, count, activation, dtype_of<T>});
      };
      run(aligned.data(), 0, n);
      run(shifted.data(), 1, n - 1);
      run(shifted.data(), 0, 1);
      EXPECT_TRUE(test::same_bits(aligned.host(), shifted.host()));
    }
    DeviceArray<T> together(device, n), alone(device, n);
    const int64_t rows = 4, cols = 51;
    activation_forward(device.stream(), {input.data(), together.data(), rows, cols, Activation::kSwiglu, dtype_of<T>});
    for (int64_t row = 0; row < rows; ++row) {
      activation_forward(device.stream(), {input.data() + 2 * row * cols, alone.data() + row * cols, 1, cols,
                                           Activation::kSwiglu, dtype_of<T>});
    }
    EXPECT_TRUE(test::same_bits(together.host(), alone.host()));
  });
}

}  // namespace
}  // namespace triptych::test
