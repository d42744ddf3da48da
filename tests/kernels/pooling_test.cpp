#include "kernels/pooling.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

using Sizes = std::array<int64_t, 3>;  // batch, seq, cols
const std::vector<Sizes> kCases{{0, 3, 5}, {1, 1, 1}, {3, 5, 7}, {5, 77, 65}, {3, 13, 1031}, {2, 11, 264}};

/// On the device, or null.
using Lengths = const int32_t*;

template <typename X, typename Out>
void check(Device& device, const Sizes& sizes, const std::vector<int32_t>& lengths, Lengths given) {
  const auto [batch, seq, cols] = sizes;
  const std::vector<X> x = test::normals<X>(batch * seq * cols, "x");
  const std::vector<Out> dout = test::normals<Out>(batch * cols, "dout");
  std::vector<double> out_expected(dout.size()), dx_expected(x.size());
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t length = lengths[static_cast<std::size_t>(b)];
    for (int64_t s = 0; s < length; ++s) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>((b * seq + s) * cols + c), o = static_cast<std::size_t>(b * cols + c);
        const double weight = 1.0 / static_cast<double>(length);
        out_expected[o] += weight * static_cast<double>(static_cast<float>(x[i]));
        dx_expected[i] = weight * static_cast<double>(static_cast<float>(dout[o]));
      }
    }
  }
  const DeviceArray<X> input(device, x);
  const DeviceArray<Out> gradient(device, dout);
  DeviceArray<Out> out(device, std::vector<Out>(dout.size(), Out(99.0f)));
  mean_pool(device.stream(), {input.data(), given, out.data(), batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(out.host(), out_expected, test::tolerance(dtype_of<Out>).local, "out");
  DeviceArray<X> dx(device, std::vector<X>(x.size(), X(99.0f)));
  mean_pool_backward(device.stream(),
                     {gradient.data(), given, dx.data(), batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(dx.host(), dx_expected, test::tolerance(dtype_of<X>).local, "dx");
}

TEST(MeanPool, AveragesTheFirstRows) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Sizes& sizes : kCases) {
      for (const bool ragged : {false, true}) {
        SCOPED_TRACE(testing::Message() << sizes[0] << " x " << sizes[1] << " x " << sizes[2] << " ragged " << ragged);
        std::vector<int32_t> lengths;
        for (int64_t b = 0; b < sizes[0]; ++b) {
          // 0 and the whole sequence are among them.
          lengths.push_back(static_cast<int32_t>(ragged ? (b == 1 ? 0 : sizes[1] - b % sizes[1]) : sizes[1]));
        }
        const DeviceArray<int32_t> on_device(device, lengths);
        const Lengths given = ragged ? on_device.data() : nullptr;
        check<T, float>(device, sizes, lengths, given);
        check<T, BFloat16>(device, sizes, lengths, given);
        if constexpr (test::kHasFloat16) check<T, Float16>(device, sizes, lengths, given);
      }
    }
  });
}

/// On the CPU an error; on a GPU, where the host does not see the lengths, NaN for the sample, and the others as ever.
TEST(MeanPool, RefusesLengthsOutsideOfTheSequence) {
  test::for_devices([](Device& device) {
    const std::vector<float> x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [2, 3, 2]
    const DeviceArray<float> input(device, x), gradient(device, std::vector<float>{1, 2, 3, 4});
    DeviceArray<float> out(device, 4), dx(device, 12);
    for (const int32_t bad : {-1, 4}) {
      const DeviceArray<int32_t> given(device, std::vector<int32_t>{3, bad});
      const PoolForwardArgs args{input.data(), given.data(), out.data(), 2, 3, 2};
      const PoolBackwardArgs backward_args{gradient.data(), given.data(), dx.data(), 2, 3, 2};
      if (device.kind() == "cpu") {
        EXPECT_THROW(mean_pool(device.stream(), args), InternalError);
        EXPECT_THROW(mean_pool_backward(device.stream(), backward_args), InternalError);
        continue;
      }
      mean_pool(device.stream(), args);
      mean_pool_backward(device.stream(), backward_args);
      const std::vector<float> pooled = out.host(), spread = dx.host();
      for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(std::isnan(pooled[i]), i >= 2) << i;
      for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(std::isnan(spread[i]), i >= 6) << i;
    }
  });
}

}  // namespace
}  // namespace triptych::test
