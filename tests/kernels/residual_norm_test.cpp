#include "kernels/residual_norm.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using test::expect_close;
using test::normals;

struct Case {
  int64_t batch, seq, cols;
  float p;
};

// The kernels that it joins have double-precision references in their own tests: what it must give is what they give.
// The last rows are of one, two and more than a GPU's block keeps.
const std::vector<Case> kCases{{0, 3, 5, 0.1f},    {1, 1, 1, 0.5f},   {2, 3, 7, 0.3f},    {3, 5, 65, 0},
                               {5, 29, 33, 0.1f},  {1, 5, 257, 0.1f}, {1, 11, 768, 0.2f}, {1, 3, 1031, 0},
                               {1, 1, 4096, 0.1f}, {1, 9, 8211, 0.1f}};

template <typename T>
struct Arrays {
  Arrays(Device& device, const Case& c)
      : n(c.batch * c.seq * c.cols),
        rows(c.batch * c.seq),
        x(device, normals<T>(n, "x", 0.7, 2.0)),
        z(device, normals<T>(n, "z")),
        sum(device, n),
        y(device, n),
        dy(device, normals<T>(n, "dy")),
        add(device, normals<T>(n, "add")),
        dx(device, n),
        dz(device, n),
        bias(device, normals<float>(c.cols, "bias")),
        weight(device, normals<float>(c.cols, "weight", 1.0, 0.5)),
        norm_bias(device, normals<float>(c.cols, "norm_bias")),
        mean(device, rows),
        rstd(device, rows),
        dweight(device, normals<float>(c.cols, "old")),
        dnorm_bias(device, normals<float>(c.cols, "old")),
        dbias(device, normals<float>(c.cols, "old")),
        dropout{c.batch, c.seq, c.cols, 3, 1, c.seq + 2, random_key(1, "dropout", 2), c.p} {}

  ResidualForwardArgs residual() {
    return {x.data(), z.data(), bias.data(), sum.data(), dtype_of<T>, dtype_of<T>, dropout};
  }
  LayerNormForwardArgs norm() {
    return {sum.data(),  weight.data(), norm_bias.data(), y.data(), mean.data(),
            rstd.data(), rows,          dropout.cols,     1e-5f,    dtype_of<T>};
  }
  LayerNormBackwardArgs norm_backward(bool adds) {
    return {dy.data(), sum.data(),     weight.data(),     mean.data(), rstd.data(),  adds ? add.data() : nullptr,
            dx.data(), dweight.data(), dnorm_bias.data(), rows,        dropout.cols, dtype_of<T>};
  }
  ResidualBackwardArgs residual_backward() {
    return {dx.data(), dropout.p > 0 ? dz.data() : nullptr, dbias.data(), dtype_of<T>, dropout};
  }

  int64_t n, rows;
  DeviceArray<T> x, z, sum, y, dy, add, dx, dz;
  DeviceArray<float> bias, weight, norm_bias, mean, rstd, dweight, dnorm_bias, dbias;
  DropoutArgs dropout;
};

template <typename T>
void expect_same(const DeviceArray<T>& actual, const DeviceArray<T>& expected, double limit, const char* what) {
  expect_close(actual.host(), test::to_doubles(expected.host()), limit, what);
}

TEST(ResidualNorm, IsTheTwoKernelsThatItJoins) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.batch << " x " << c.seq << " x " << c.cols << ", p " << c.p);
      Stream& stream = device.stream();
      const test::Tolerance limit = test::tolerance(dtype_of<T>), exact = test::tolerance(DType::kFloat32);
      Arrays<T> joined(device, c), apart(device, c);
      residual_norm_forward(stream, joined.residual(), joined.norm());
      residual_forward(stream, apart.residual());
      layer_norm_forward(stream, apart.norm());
      EXPECT_TRUE(test::same_bits(joined.sum.host(), apart.sum.host())) << "sum";
      expect_same(joined.y, apart.y, limit.local, "y");
      expect_same(joined.mean, apart.mean, exact.local, "mean");
      expect_same(joined.rstd, apart.rstd, exact.local, "rstd");

      for (const bool adds : {false, true}) {
        residual_norm_backward(stream, joined.norm_backward(adds), joined.residual_backward());
        layer_norm_backward(stream, apart.norm_backward(adds));
        residual_backward(stream, apart.residual_backward());
        expect_same(joined.dx, apart.dx, limit.local, "dx");
        if (c.p > 0) expect_same(joined.dz, apart.dz, limit.local, "dz");
        expect_same(joined.dweight, apart.dweight, exact.summed, "dweight");
        expect_same(joined.dnorm_bias, apart.dnorm_bias, exact.summed, "dnorm_bias");
        // One of them may sum a 16-bit dx before it is rounded.
        expect_same(joined.dbias, apart.dbias, limit.summed, "dbias");
      }
    }
  });
}

TEST(ResidualNorm, JoinsTheRmsNormToo) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.batch << " x " << c.seq << " x " << c.cols << ", p " << c.p);
      Stream& stream = device.stream();
      const test::Tolerance limit = test::tolerance(dtype_of<T>), exact = test::tolerance(DType::kFloat32);
      Arrays<T> joined(device, c), apart(device, c);
      const auto norm_of = [](Arrays<T>& of) {
        LayerNormForwardArgs norm = of.norm();
        norm.mean = nullptr;
        norm.bias = nullptr;
        return norm;
      };
      residual_norm_forward(stream, joined.residual(), norm_of(joined));
      residual_forward(stream, apart.residual());
      layer_norm_forward(stream, norm_of(apart));
      EXPECT_TRUE(test::same_bits(joined.sum.host(), apart.sum.host())) << "sum";
      expect_same(joined.y, apart.y, limit.local, "y");
      expect_same(joined.rstd, apart.rstd, exact.local, "rstd");
      const auto backward_of = [](Arrays<T>& of) {
        LayerNormBackwardArgs norm = of.norm_backward(true);
        norm.mean = nullptr;
        norm.dbias = {};
        return norm;
      };
      residual_norm_backward(stream, backward_of(joined), joined.residual_backward());
      layer_norm_backward(stream, backward_of(apart));
      residual_backward(stream, apart.residual_backward());
      expect_same(joined.dx, apart.dx, limit.local, "dx");
      if (c.p > 0) expect_same(joined.dz, apart.dz, limit.local, "dz");
      expect_same(joined.dweight, apart.dweight, exact.summed, "dweight");
      expect_same(joined.dbias, apart.dbias, limit.summed, "dbias");
    }
  });
}

/// Frozen biases have no gradient, and a branch may have no bias.
TEST(ResidualNorm, BiasesMayBeMissing) {
  test::for_devices([](Device& device) {
    const Case c{2, 5, 65, 0.2f};
    Arrays<float> with(device, c), without(device, c);
    residual_norm_forward(device.stream(), with.residual(), with.norm());
    residual_norm_backward(device.stream(), with.norm_backward(true), with.residual_backward());
    without.bias = DeviceArray<float>(device, std::vector<float>(65));
    residual_norm_forward(device.stream(), without.residual(), without.norm());
    Arrays<float> null(device, c);
    ResidualForwardArgs residual = null.residual();
    residual.bias = nullptr;
    residual_norm_forward(device.stream(), residual, null.norm());
    EXPECT_TRUE(test::same_bits(null.y.host(), without.y.host())) << "no bias is a bias of zeros";
    null.sum = DeviceArray<float>(device, with.sum.host());
    null.mean = DeviceArray<float>(device, with.mean.host());
    null.rstd = DeviceArray<float>(device, with.rstd.host());
    ResidualBackwardArgs backward = null.residual_backward();
    backward.dbias = nullptr;
    residual_norm_backward(device.stream(), null.norm_backward(true), backward);
    EXPECT_TRUE(test::same_bits(null.dz.host(), with.dz.host()));
    EXPECT_TRUE(test::same_bits(null.dweight.host(), with.dweight.host()));
  });
}

TEST(ResidualNorm, BackwardDoesNotDependOnThreads) {
  std::vector<std::vector<float>> results;
  for (const int num_threads : test::thread_counts()) {
    Device device(num_threads);
    Arrays<float> arrays(device, {7, 83, 129, 0.1f});
    residual_norm_forward(device.stream(), arrays.residual(), arrays.norm());
    residual_norm_backward(device.stream(), arrays.norm_backward(true), arrays.residual_backward());
    std::vector<float> sums = arrays.dweight.host();
    for (const auto& more : {arrays.dnorm_bias.host(), arrays.dbias.host()})
      sums.insert(sums.end(), more.begin(), more.end());
    results.push_back(sums);
    EXPECT_TRUE(test::same_bits(results[0], results.back())) << num_threads;
  }
}

TEST(ResidualNorm, RefusesTheNormOfSomethingElse) {
  Device device(1);
  Arrays<float> arrays(device, {2, 3, 5, 0.1f});
  LayerNormForwardArgs norm = arrays.norm();
  norm.x = arrays.x.data();
  EXPECT_THROW(residual_norm_forward(device.stream(), arrays.residual(), norm), InternalError);
  norm = arrays.norm();
  norm.rows = 5;
  EXPECT_THROW(residual_norm_forward(device.stream(), arrays.residual(), norm), InternalError);
  ResidualBackwardArgs residual = arrays.residual_backward();
  residual.dout = arrays.dy.data();
  EXPECT_THROW(residual_norm_backward(device.stream(), arrays.norm_backward(true), residual), InternalError);
}

}  // namespace
}  // namespace triptych::test
