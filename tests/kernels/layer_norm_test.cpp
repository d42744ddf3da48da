#include "kernels/layer_norm.h"

#include "kernel_support.h"

namespace triptych {
namespace {

using test::DeviceArray;
using test::expect_close;
using test::normals;
using test::to_doubles;
using test::tolerance;

using Doubles = std::vector<double>;

struct Oracle {
  Doubles y, mean, rstd, dx, dgamma, dbeta;
};

Oracle oracle(const Doubles& x, const Doubles& gamma, const Doubles& beta, const Doubles& dy, std::size_t rows,
              std::size_t cols, double eps) {
  Oracle o{Doubles(rows * cols), Doubles(rows), Doubles(rows), Doubles(rows * cols), Doubles(cols), Doubles(cols)};
  const double n = static_cast<double>(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const double* xr = x.data() + r * cols;
    const double* dyr = dy.data() + r * cols;
    double sum = 0, squares = 0, sum_g = 0, sum_gn = 0;
    for (std::size_t c = 0; c < cols; ++c) sum += xr[c];
    const double mean = sum / n;
    for (std::size_t c = 0; c < cols; ++c) squares += (xr[c] - mean) * (xr[c] - mean);
    const double rstd = 1 / std::sqrt(squares / n + eps);
    for (std::size_t c = 0; c < cols; ++c) {
      const double normal = (xr[c] - mean) * rstd;
      o.y[r * cols + c] = normal * gamma[c] + beta[c];
      sum_g += dyr[c] * gamma[c];
      sum_gn += dyr[c] * gamma[c] * normal;
      o.dgamma[c] += dyr[c] * normal;
      o.dbeta[c] += dyr[c];
    }
    for (std::size_t c = 0; c < cols; ++c) {
      const double normal = (xr[c] - mean) * rstd;
      o.dx[r * cols + c] = rstd * (dyr[c] * gamma[c] - sum_g / n - normal * sum_gn / n);
    }
    o.mean[r] = mean;
    o.rstd[r] = rstd;
  }
  return o;
}

TEST(LayerNorm, OracleGradientIsTheDerivative) {
  const std::size_t rows = 3, cols = 7;
  const Doubles x = to_doubles(normals<float>(21, "x")), gamma = to_doubles(normals<float>(7, "gamma"));
  const Doubles beta = to_doubles(normals<float>(7, "beta")), dy = to_doubles(normals<float>(21, "dy"));
  const auto loss = [&](const Doubles& at, const Doubles& scale) {
    const Oracle o = oracle(at, scale, beta, dy, rows, cols, 1e-3);
    double sum = 0;
    for (std::size_t i = 0; i < dy.size(); ++i) sum += dy[i] * o.y[i];
    return sum;
  };
  const Oracle o = oracle(x, gamma, beta, dy, rows, cols, 1e-3);
  EXPECT_LE(
      test::relative_error(o.dx, test::central_differences([&](const Doubles& at) { return loss(at, gamma); }, x)),
      test::kDifferenceError);
  EXPECT_LE(
      test::relative_error(o.dgamma, test::central_differences([&](const Doubles& at) { return loss(x, at); }, gamma)),
      test::kDifferenceError);
}

TEST(LayerNorm, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    // The last ones: rows of one, two and more than a GPU's block keeps.
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{0, 5},
                                                                             {1, 1},
                                                                             {2, 7},
                                                                             {5, 65},
                                                                             {67, 257},
                                                                             {19, 768},
                                                                             {391, 33},
                                                                             {11, 1152},
                                                                             {11, 1031},
                                                                             {3, 4096},
                                                                             {9, 8211}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      const int64_t n = rows * cols;
      const float eps = 1e-5f;
      const std::vector<T> x = normals<T>(n, "x", 0.7, 2.0), dy = normals<T>(n, "dy"), add = normals<T>(n, "add");
      const auto gamma = normals<float>(cols, "gamma", 1.0, 0.5), beta = normals<float>(cols, "beta");
      const Oracle expected =
          oracle(to_doubles(x), to_doubles(gamma), to_doubles(beta), to_doubles(dy), static_cast<std::size_t>(rows),
                 static_cast<std::size_t>(cols), static_cast<double>(eps));
      const DeviceArray<T> input(device, x);
      const DeviceArray<float> scale(device, gamma), shift(device, beta);
      DeviceArray<T> y(device, n);
      DeviceArray<float> mean(device, rows), rstd(device, rows);
      LayerNormForwardArgs forward{input.data(), scale.data(), shift.data(), y.data(), mean.data(),
                                   rstd.data(),  rows,         cols,         eps,      dtype_of<T>};
      layer_norm_forward(device.stream(), forward);
      const test::Tolerance limit = tolerance(dtype_of<T>), exact = tolerance(DType::kFloat32);
      expect_close(y.host(), expected.y, limit.local, "y");
      expect_close(mean.host(), expected.mean, exact.local, "mean");
      expect_close(rstd.host(), expected.rstd, exact.local, "rstd");
      DeviceArray<T> over_x(device, x);
      forward.x = over_x.data();
      forward.y = over_x.data();
      layer_norm_forward(device.stream(), forward);
      EXPECT_TRUE(test::same_bits(over_x.host(), y.host())) << "y over x";

      // Without `add`: assigned. With it: in place of dy, and parameter gradients add up.
      const std::vector<float> old = normals<float>(cols, "old");
      DeviceArray<T> gradient(device, dy), added(device, add), dx(device, std::vector<T>(x.size(), T(99.0f)));
      DeviceArray<float> dgamma(device, old), dbeta(device, old);
      LayerNormBackwardArgs args{gradient.data(), input.data(),  scale.data(), mean.data(), rstd.data(), nullptr,
                                 dx.data(),       dgamma.data(), dbeta.data(), rows,        cols,        dtype_of<T>};
      layer_norm_backward(device.stream(), args);
      expect_close(dx.host(), expected.dx, limit.local, "dx");
      Doubles dgamma_expected = to_doubles(old), dbeta_expected = dgamma_expected, dx_added = to_doubles(add);
      for (std::size_t c = 0; c < old.size(); ++c) {
        dgamma_expected[c] += expected.dgamma[c];
        dbeta_expected[c] += expected.dbeta[c];
      }
      for (std::size_t i = 0; i < dx_added.size(); ++i) dx_added[i] += expected.dx[i];
      expect_close(dgamma.host(), dgamma_expected, exact.summed, "dgamma");
      expect_close(dbeta.host(), dbeta_expected, exact.summed, "dbeta");

      DeviceArray<float> assigned_gamma(device, cols), assigned_beta(device, cols);
      args.dgamma = {assigned_gamma.data(), true};
      args.dbeta = {assigned_beta.data(), true};
      layer_norm_backward(device.stream(), args);
      expect_close(assigned_gamma.host(), expected.dgamma, exact.summed, "assigned dgamma");
      expect_close(assigned_beta.host(), expected.dbeta, exact.summed, "assigned dbeta");

      DeviceArray<T> over_add(device, add);
      args.add = over_add.data();
      args.dx = over_add.data();
      layer_norm_backward(device.stream(), args);
      expect_close(over_add.host(), dx_added, limit.local, "dx over add");
      args.add = added.data();
      args.dx = gradient.data();
      layer_norm_backward(device.stream(), args);
      EXPECT_TRUE(test::same_bits(gradient.host(), over_add.host())) << "dx over dy";
    }
  });
}

TEST(LayerNorm, BackwardDoesNotDependOnThreads) {
  const int64_t rows = 613, cols = 129;
  const auto x = normals<float>(rows * cols, "x"), dy = normals<float>(rows * cols, "dy");
  std::vector<std::vector<float>> results;
  for (const int num_threads : test::thread_counts()) {
    Device device(num_threads);
    const DeviceArray<float> input(device, x), gradient(device, dy), ones(device, std::vector<float>(613, 1.0f));
    DeviceArray<float> dx(device, rows * cols);
    for (int repeated = 0; repeated < 2; ++repeated) {
      DeviceArray<float> sums(device, std::vector<float>(2 * 129));
      layer_norm_backward(device.stream(),
                          {gradient.data(), input.data(), ones.data(), ones.data(), ones.data(), nullptr, dx.data(),
                           sums.data(), sums.data() + 129, rows, cols, DType::kFloat32});
      results.push_back(sums.host());
      EXPECT_TRUE(test::same_bits(results[0], results.back())) << num_threads;
    }
  }
}

/// Whatever other rows there are beside it.
TEST(LayerNorm, ARowHasTheSameBitsInAnyBatch) {
  test::for_cases([]<typename T>(Device& device, T) {
    const int64_t rows = 37, cols = 72;
    const DeviceArray<T> input(device, normals<T>(rows * cols, "x"));
    const DeviceArray<float> gamma(device, normals<float>(cols, "gamma")), beta(device, normals<float>(cols, "beta"));
    DeviceArray<T> together(device, rows * cols), alone(device, rows * cols);
    DeviceArray<float> statistics(device, 2 * rows);
    float* mean = statistics.data();
    layer_norm_forward(device.stream(), {input.data(), gamma.data(), beta.data(), together.data(), mean, mean + rows,
                                         rows, cols, 1e-6f, dtype_of<T>});
    for (int64_t row = 0; row < rows; ++row) {
      layer_norm_forward(device.stream(), {input.data() + row * cols, gamma.data(), beta.data(),
                                           alone.data() + row * cols, mean, mean + rows, 1, cols, 1e-6f, dtype_of<T>});
    }
    EXPECT_TRUE(test::same_bits(together.host(), alone.host()));
  });
}

}  // namespace
}  // namespace triptych
