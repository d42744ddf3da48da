#include "kernels/layer_norm.h"

#include "kernel_support.h"

namespace triptych {
namespace {

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
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const auto& [rows, cols] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 1}, {2, 7}, {5, 65}, {131, 257}, {70, 768}, {391, 33}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      const int64_t n = rows * cols;
      const float eps = 1e-5f;
      const std::vector<T> x = normals<T>(n, "x", 0.7, 2.0), dy = normals<T>(n, "dy"), add = normals<T>(n, "add");
      const auto gamma = normals<float>(cols, "gamma", 1.0, 0.5), beta = normals<float>(cols, "beta");
      const auto rows_size = static_cast<std::size_t>(rows);
      const Oracle expected = oracle(to_doubles(x), to_doubles(gamma), to_doubles(beta), to_doubles(dy), rows_size,
                                     static_cast<std::size_t>(cols), static_cast<double>(eps));
      std::vector<T> y(x.size());
      std::vector<float> mean(rows_size), rstd(rows_size);
      layer_norm_forward(stream, {x.data(), gamma.data(), beta.data(), y.data(), mean.data(), rstd.data(), rows, cols,
                                  eps, dtype_of<T>});
      const test::Tolerance limit = tolerance(dtype_of<T>), exact = tolerance(DType::kFloat32);
      expect_close(y, expected.y, limit.local, "y");
      expect_close(mean, expected.mean, exact.local, "mean");
      expect_close(rstd, expected.rstd, exact.local, "rstd");

      // Without `add`: assigned. With it: in place of dy, and parameter gradients add up.
      std::vector<T> dx(x.size(), T(99.0f));
      std::vector<float> dgamma = normals<float>(cols, "old"), dbeta = dgamma;
      const Doubles old = to_doubles(dgamma);
      LayerNormBackwardArgs args{dy.data(), x.data(),      gamma.data(), mean.data(), rstd.data(), nullptr,
                                 dx.data(), dgamma.data(), dbeta.data(), rows,        cols,        dtype_of<T>};
      layer_norm_backward(stream, args);
      expect_close(dx, expected.dx, limit.local, "dx");
      Doubles dgamma_expected = old, dbeta_expected = old, dx_added = to_doubles(add);
      for (std::size_t c = 0; c < old.size(); ++c) {
        dgamma_expected[c] += expected.dgamma[c];
        dbeta_expected[c] += expected.dbeta[c];
      }
      for (std::size_t i = 0; i < dx_added.size(); ++i) dx_added[i] += expected.dx[i];
      expect_close(dgamma, dgamma_expected, exact.summed, "dgamma");
      expect_close(dbeta, dbeta_expected, exact.summed, "dbeta");

      std::vector<T> over_add = add, over_dy = dy;
      args.add = over_add.data();
      args.dx = over_add.data();
      layer_norm_backward(stream, args);
      expect_close(over_add, dx_added, limit.local, "dx over add");
      args.add = add.data();
      args.dy = over_dy.data();
      args.dx = over_dy.data();
      layer_norm_backward(stream, args);
      EXPECT_TRUE(test::same_bits(over_dy, over_add)) << "dx over dy";
    }
  });
}

TEST(LayerNorm, BackwardDoesNotDependOnThreads) {
  const int64_t rows = 613, cols = 129;
  const auto x = normals<float>(rows * cols, "x"), dy = normals<float>(rows * cols, "dy");
  const std::vector<float> ones(613, 1.0f);
  std::vector<std::vector<float>> results;
  for (const int num_threads : {1, 2, 3, 5}) {
    Stream stream(num_threads);
    std::vector<float> dx(x.size()), dgamma(129), dbeta(129);
    layer_norm_backward(stream, {dy.data(), x.data(), ones.data(), ones.data(), ones.data(), nullptr, dx.data(),
                                 dgamma.data(), dbeta.data(), rows, cols, DType::kFloat32});
    dgamma.insert(dgamma.end(), dbeta.begin(), dbeta.end());
    results.push_back(dgamma);
    EXPECT_TRUE(test::same_bits(results[0], results.back())) << num_threads;
  }
}

}  // namespace
}  // namespace triptych
