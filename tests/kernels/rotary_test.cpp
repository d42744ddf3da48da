#include "kernels/rotary.h"

#include <complex>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

struct Case {
  int64_t batch, seq, parts, rotated, heads, head_dim;
  int64_t size() const { return batch * seq * parts * heads * head_dim; }
};
// Halves of less than a vector, of some whole ones, and of what is left of one.
const std::vector<Case> kCases{{0, 3, 3, 2, 1, 2},  {1, 1, 1, 1, 1, 2},  {2, 5, 3, 2, 3, 6},
                               {3, 7, 2, 1, 2, 32}, {2, 3, 1, 1, 5, 64}, {1, 67, 3, 2, 2, 74}};

std::vector<double> angles_of(const Case& c) {
  std::vector<double> angles;
  for (int64_t s = 0; s < c.seq; ++s) {
    for (int64_t i = 0; i < c.head_dim / 2; ++i)
      angles.push_back(0.7 * static_cast<double>(s) / (1 + 0.3 * static_cast<double>(i)));
  }
  return angles;
}

std::vector<float> table_of(const Case& c) {
  const std::vector<double> angles = angles_of(c);
  const auto half = static_cast<std::size_t>(c.head_dim / 2);
  std::vector<float> table;
  for (std::size_t s = 0; s < static_cast<std::size_t>(c.seq); ++s) {
    for (std::size_t i = 0; i < half; ++i) table.push_back(static_cast<float>(std::cos(angles[s * half + i])));
    for (std::size_t i = 0; i < half; ++i) table.push_back(static_cast<float>(std::sin(angles[s * half + i])));
  }
  return table;
}

// A pair as a complex number, turned by its angle.
std::vector<double> turned(const Case& c, const std::vector<double>& x, double direction) {
  const std::vector<double> angles = angles_of(c);
  const auto dim = static_cast<std::size_t>(c.head_dim), half = dim / 2;
  const auto heads = static_cast<std::size_t>(c.heads), parts = static_cast<std::size_t>(c.parts);
  std::vector<double> y = x;
  for (std::size_t token = 0; token < static_cast<std::size_t>(c.batch * c.seq); ++token) {
    for (std::size_t head = 0; head < static_cast<std::size_t>(c.rotated) * heads; ++head) {
      const std::size_t at = (token * parts * heads + head) * dim;
      for (std::size_t i = 0; i < half; ++i) {
        const double angle = angles[token % static_cast<std::size_t>(c.seq) * half + i];
        const std::complex<double> z =
            std::complex<double>(x[at + i], x[at + half + i]) * std::polar(1.0, direction * angle);
        y[at + i] = z.real();
        y[at + half + i] = z.imag();
      }
    }
  }
  return y;
}

template <typename T>
RotaryArgs args_of(const Case& c, const T* x, T* y, const float* table) {
  return {.x = x,
          .y = y,
          .table = table,
          .batch = c.batch,
          .seq = c.seq,
          .parts = c.parts,
          .rotated = c.rotated,
          .cols = c.heads * c.head_dim,
          .head_dim = c.head_dim,
          .dtype = dtype_of<T>};
}

TEST(Rotary, TurnsPairsAsComplexNumbers) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.batch << " x " << c.seq << " x " << c.parts << " of " << c.heads << " x "
                                      << c.head_dim);
      const std::vector<T> x = test::normals<T>(c.size(), "x");
      DeviceArray<T> input(device, x), y(device, c.size()), back(device, c.size());
      const DeviceArray<float> table(device, table_of(c));
      const double limit = test::tolerance(dtype_of<T>).local;
      RotaryArgs args = args_of<T>(c, input.data(), y.data(), table.data());
      rotary(device.stream(), args);
      test::expect_close(y.host(), turned(c, test::to_doubles(x), 1), limit, "y");
      // The gradient of a rotation is the rotation back.
      args.y = back.data();
      args.inverse = true;
      rotary(device.stream(), args);
      test::expect_close(back.host(), turned(c, test::to_doubles(x), -1), limit, "inverse");
      args.y = input.data();
      args.inverse = false;
      rotary(device.stream(), args);
      EXPECT_TRUE(test::same_bits(input.host(), y.host())) << "y over x";
    }
  });
}

TEST(Rotary, OracleGradientIsTheDerivative) {
  const Case c{1, 3, 2, 1, 1, 4};
  const std::vector<double> x = test::to_doubles(test::normals<float>(c.size(), "x"));
  const std::vector<double> dy = test::to_doubles(test::normals<float>(c.size(), "dy"));
  const auto difference = test::central_differences(
      [&](const std::vector<double>& at) {
        const std::vector<double> y = turned(c, at, 1);
        double sum = 0;
        for (std::size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
        return sum;
      },
      x);
  const std::vector<double> gradient = turned(c, dy, -1);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(gradient[i], difference[i], test::kDifferenceError);
}

TEST(Rotary, AlignmentChangesNothing) {
  test::for_cases([]<typename T>(Device& device, T) {
    const Case c{1, 3, 1, 1, 2, 16};
    const std::vector<T> x = test::normals<T>(c.size(), "x");
    const DeviceArray<float> table(device, table_of(c));
    const DeviceArray<T> input(device, x);
    std::vector<T> later(1, T(0.0f));
    later.insert(later.end(), x.begin(), x.end());
    const DeviceArray<T> shifted(device, later);
    DeviceArray<T> y(device, c.size()), of_shifted(device, c.size());
    rotary(device.stream(), args_of<T>(c, input.data(), y.data(), table.data()));
    rotary(device.stream(), args_of<T>(c, shifted.data() + 1, of_shifted.data(), table.data()));
    EXPECT_TRUE(test::same_bits(y.host(), of_shifted.host()));
  });
}

TEST(Rotary, RefusesHeadsOfAnOddNumberOfColumns) {
  Device device(1);
  DeviceArray<float> x(device, 6), table(device, 3);
  EXPECT_THROW(rotary(device.stream(), args_of<float>({1, 1, 1, 1, 2, 3}, x.data(), x.data(), table.data())),
               InternalError);
}

}  // namespace
}  // namespace triptych::test
