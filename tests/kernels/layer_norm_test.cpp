#include "kernels/layer_norm.h"

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using test::expect_close;
using test::normals;
using test::to_doubles;
using test::tolerance;

using Doubles = std::vector<double>;

struct Oracle {
  Doubles y, mean, rstd, dx, dweight, dbias;
};

Oracle oracle(const Doubles& x, const Doubles& weight, const Doubles& bias, const Doubles& dy, std::size_t rows,
              std::size_t cols, double epsilon) {
  Oracle o{Doubles(rows * cols), Doubles(rows), Doubles(rows), Doubles(rows * cols), Doubles(cols), Doubles(cols)};
  const double n = static_cast<double>(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const double* xr = x.data() + r * cols;
    const double* dyr = dy.data() + r * cols;
    double sum = 0, squares = 0, sum_g = 0, sum_gn = 0;
    for (std::size_t c = 0; c < cols; ++c) sum += xr[c];
    const double mean = sum / n;
    for (std::size_t c = 0; c < cols; ++c) squares += (xr[c] - mean) * (xr[c] - mean);
    const double rstd = 1 / std::sqrt(squares / n + epsilon);
    for (std::size_t c = 0; c < cols; ++c) {
      const double normal = (xr[c] - mean) * rstd;
      o.y[r * cols + c] = normal * weight[c] + bias[c];
      sum_g += dyr[c] * weight[c];
      sum_gn += dyr[c] * weight[c] * normal;
      o.dweight[c] += dyr[c] * normal;
      o.dbias[c] += dyr[c];
    }
    for (std::size_t c = 0; c < cols; ++c) {
      const double normal = (xr[c] - mean) * rstd;
      o.dx[r * cols + c] = rstd * (dyr[c] * weight[c] - sum_g / n - normal * sum_gn / n);
    }
    o.mean[r] = mean;
    o.rstd[r] = rstd;
  }
  return o;
}

TEST(LayerNorm, OracleGradientIsTheDerivative) {
  const std::size_t rows = 3, cols = 7;
  const Doubles x = to_doubles(normals<float>(21, "x")), weight = to_doubles(normals<float>(7, "weight"));
  const Doubles bias = to_doubles(normals<float>(7, "bias")), dy = to_doubles(normals<float>(21, "dy"));
  const auto loss = [&](const Doubles& at, const Doubles& scale) {
    const Oracle o = oracle(at, scale, bias, dy, rows, cols, 1e-3);
    double sum = 0;
    for (std::size_t i = 0; i < dy.size(); ++i) sum += dy[i] * o.y[i];
    return sum;
  };
  const Oracle o = oracle(x, weight, bias, dy, rows, cols, 1e-3);
  EXPECT_LE(
      test::relative_error(o.dx, test::central_differences([&](const Doubles& at) { return loss(at, weight); }, x)),
      test::kDifferenceError);
  EXPECT_LE(test::relative_error(o.dweight,
                                 test::central_differences([&](const Doubles& at) { return loss(x, at); }, weight)),
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
      const float epsilon = 1e-5f;
      const std::vector<T> x = normals<T>(n, "x", 0.7, 2.0), dy = normals<T>(n, "dy"), add = normals<T>(n, "add");
      const auto weight = normals<float>(cols, "weight", 1.0, 0.5), bias = normals<float>(cols, "bias");
      const Oracle expected =
          oracle(to_doubles(x), to_doubles(weight), to_doubles(bias), to_doubles(dy), static_cast<std::size_t>(rows),
                 static_cast<std::size_t>(cols), static_cast<double>(epsilon));
      const DeviceArray<T> input(device, x);
      const DeviceArray<float> scale(device, weight), shift(device, bias);
      DeviceArray<T> y(device, n);
      DeviceArray<float> mean(device, rows), rstd(device, rows);
      LayerNormForwardArgs forward{input.data(), scale.data(), shift.data(), y.data(), mean.data(),
                                   rstd.data(),  rows,         cols,         epsilon,  dtype_of<T>};
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
      DeviceArray<float> dweight(device, old), dbias(device, old);
      LayerNormBackwardArgs args{gradient.data(), input.data(),   scale.data(), mean.data(), rstd.data(), nullptr,
                                 dx.data(),       dweight.data(), dbias.data(), rows,        cols,        dtype_of<T>};
      layer_norm_backward(device.stream(), args);
      expect_close(dx.host(), expected.dx, limit.local, "dx");
      Doubles dweight_expected = to_doubles(old), dbias_expected = dweight_expected, dx_added = to_doubles(add);
      for (std::size_t c = 0; c < old.size(); ++c) {
        dweight_expected[c] += expected.dweight[c];
        dbias_expected[c] += expected.dbias[c];
      }
      for (std::size_t i = 0; i < dx_added.size(); ++i) dx_added[i] += expected.dx[i];
      expect_close(dweight.host(), dweight_expected, exact.summed, "dweight");
      expect_close(dbias.host(), dbias_expected, exact.summed, "dbias");

      DeviceArray<float> assigned_weight(device, cols), assigned_bias(device, cols);
      args.dweight = {assigned_weight.data(), true};
      args.dbias = {assigned_bias.data(), true};
      layer_norm_backward(device.stream(), args);
      expect_close(assigned_weight.host(), expected.dweight, exact.summed, "assigned dweight");
      expect_close(assigned_bias.host(), expected.dbias, exact.summed, "assigned dbias");

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
    const DeviceArray<float> weight(device, normals<float>(cols, "weight")), bias(device, normals<float>(cols, "bias"));
    DeviceArray<T> together(device, rows * cols), alone(device, rows * cols);
    DeviceArray<float> statistics(device, 2 * rows);
    float* mean = statistics.data();
    layer_norm_forward(device.stream(), {input.data(), weight.data(), bias.data(), together.data(), mean, mean + rows,
                                         rows, cols, 1e-6f, dtype_of<T>});
    for (int64_t row = 0; row < rows; ++row) {
      layer_norm_forward(device.stream(), {input.data() + row * cols, weight.data(), bias.data(),
                                           alone.data() + row * cols, mean, mean + rows, 1, cols, 1e-6f, dtype_of<T>});
    }
    EXPECT_TRUE(test::same_bits(together.host(), alone.host()));
  });
}

// ---- The RMS norm: Zhang and Sennrich 2019, equation 4, in double.

Oracle rms_oracle(const Doubles& x, const Doubles& weight, const Doubles& dy, std::size_t rows, std::size_t cols,
                  double epsilon) {
  Oracle o{Doubles(rows * cols), {}, Doubles(rows), Doubles(rows * cols), Doubles(cols), {}};
  const auto n = static_cast<double>(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    double squares = 0, projection = 0;
    for (std::size_t c = 0; c < cols; ++c) squares += x[r * cols + c] * x[r * cols + c];
    const double root = std::sqrt(squares / n + epsilon);
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t i = r * cols + c;
      o.y[i] = x[i] / root * weight[c];
      o.dweight[c] += dy[i] * x[i] / root;
      projection += dy[i] * weight[c] * x[i];
    }
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t i = r * cols + c;
      o.dx[i] = dy[i] * weight[c] / root - x[i] * projection / (n * root * root * root);
    }
    o.rstd[r] = 1 / root;
  }
  return o;
}

TEST(RmsNorm, OracleGradientIsTheDerivative) {
  const std::size_t rows = 3, cols = 7;
  const Doubles x = to_doubles(normals<float>(21, "x")), weight = to_doubles(normals<float>(7, "weight"));
  const Doubles dy = to_doubles(normals<float>(21, "dy"));
  const auto loss = [&](const Doubles& at, const Doubles& scale) {
    const Oracle o = rms_oracle(at, scale, dy, rows, cols, 1e-3);
    double sum = 0;
    for (std::size_t i = 0; i < dy.size(); ++i) sum += dy[i] * o.y[i];
    return sum;
  };
  const Oracle o = rms_oracle(x, weight, dy, rows, cols, 1e-3);
  const Doubles dx = test::central_differences([&](const Doubles& at) { return loss(at, weight); }, x);
  const Doubles dweight = test::central_differences([&](const Doubles& at) { return loss(x, at); }, weight);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(o.dx[i], dx[i], test::kDifferenceError);
  for (std::size_t c = 0; c < dweight.size(); ++c) EXPECT_NEAR(o.dweight[c], dweight[c], test::kDifferenceError);
}

TEST(RmsNorm, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
             {0, 3}, {1, 1}, {2, 7}, {5, 65}, {67, 257}, {19, 768}, {11, 1031}, {3, 4096}, {5, 8211}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      const int64_t n = rows * cols;
      const float epsilon = 1e-6f;
      const std::vector<T> x = normals<T>(n, "x", 0.7, 2.0), dy = normals<T>(n, "dy"), add = normals<T>(n, "add");
      const auto weight = normals<float>(cols, "weight", 1.0, 0.5);
      const Oracle expected =
          rms_oracle(to_doubles(x), to_doubles(weight), to_doubles(dy), static_cast<std::size_t>(rows),
                     static_cast<std::size_t>(cols), static_cast<double>(epsilon));
      const DeviceArray<T> input(device, x), gradient(device, dy), added(device, add);
      const DeviceArray<float> scale(device, weight);
      DeviceArray<T> y(device, n), dx(device, n);
      DeviceArray<float> rstd(device, rows), dweight(device, cols);
      layer_norm_forward(device.stream(), {.x = input.data(),
                                           .weight = scale.data(),
                                           .y = y.data(),
                                           .rstd = rstd.data(),
                                           .rows = rows,
                                           .cols = cols,
                                           .epsilon = epsilon,
                                           .dtype = dtype_of<T>});
      const test::Tolerance limit = tolerance(dtype_of<T>), exact = tolerance(DType::kFloat32);
      expect_close(y.host(), expected.y, limit.local, "y");
      expect_close(rstd.host(), expected.rstd, exact.summed, "rstd");  // of a sum of positive terms over the row
      LayerNormBackwardArgs args{.dy = gradient.data(),
                                 .x = input.data(),
                                 .weight = scale.data(),
                                 .rstd = rstd.data(),
                                 .dx = dx.data(),
                                 .dweight = {dweight.data(), true},
                                 .rows = rows,
                                 .cols = cols,
                                 .dtype = dtype_of<T>};
      layer_norm_backward(device.stream(), args);
      // One row of one element: a sum that cancels but for epsilon.
      if (cols > 1) expect_close(dx.host(), expected.dx, limit.local, "dx");
      expect_close(dweight.host(), expected.dweight, exact.summed, "dweight");
      args.add = added.data();
      layer_norm_backward(device.stream(), args);
      Doubles dx_added = to_doubles(add);
      for (std::size_t i = 0; i < dx_added.size(); ++i) dx_added[i] += expected.dx[i];
      expect_close(dx.host(), dx_added, limit.local, "dx and what is added");
    }
  });
}

}  // namespace
}  // namespace triptych::test
