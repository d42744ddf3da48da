#include "kernels/pooling.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych {
namespace {

using test::DeviceArray;

using Sizes = std::array<int64_t, 3>;  // batch, seq, cols
const std::vector<Sizes> kCases{{0, 3, 5}, {1, 1, 1}, {3, 5, 7}, {5, 77, 65}, {3, 13, 1031}, {2, 11, 264}};

/// Weights [batch, seq] such that out[b] = sum over s of weight[b, s] * x[b, s]: the oracle of both poolings.
using Weights = std::vector<double>;

/// Where a sample's rows are, in device memory or null.
struct Positions {
  const int32_t* index = nullptr;
  int32_t index_offset = 0;
  const int32_t* lengths = nullptr;
};

template <typename X, typename Out, typename Forward, typename Backward>
void check(Device& device, const Sizes& sizes, const Weights& weights, const Positions& positions,
           const Forward& forward, const Backward& backward) {
  const auto [batch, seq, cols] = sizes;
  const std::vector<X> x = test::normals<X>(batch * seq * cols, "x");
  const std::vector<Out> dout = test::normals<Out>(batch * cols, "dout");
  std::vector<double> out_expected(dout.size()), dx_expected(x.size());
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < seq; ++s) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>((b * seq + s) * cols + c), o = static_cast<std::size_t>(b * cols + c);
        const double weight = weights[static_cast<std::size_t>(b * seq + s)];
        out_expected[o] += weight * static_cast<double>(static_cast<float>(x[i]));
        dx_expected[i] = weight * static_cast<double>(static_cast<float>(dout[o]));
      }
    }
  }
  const DeviceArray<X> input(device, x);
  const DeviceArray<Out> gradient(device, dout);
  DeviceArray<Out> out(device, std::vector<Out>(dout.size(), Out(99.0f)));
  forward(device.stream(), PoolForwardArgs{input.data(), positions.index, positions.index_offset, positions.lengths,
                                           out.data(), batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(out.host(), out_expected, test::tolerance(dtype_of<Out>).local, "out");
  DeviceArray<X> dx(device, std::vector<X>(x.size(), X(99.0f)));
  backward(device.stream(),
           PoolBackwardArgs{gradient.data(), positions.index, positions.index_offset, positions.lengths, dx.data(),
                            batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(dx.host(), dx_expected, test::tolerance(dtype_of<X>).local, "dx");
}

template <typename X, typename Forward, typename Backward>
void check_all_outputs(Device& device, const Sizes& sizes, const Weights& weights, const Positions& positions,
                       const Forward& forward, const Backward& backward) {
  check<X, float>(device, sizes, weights, positions, forward, backward);
  check<X, BFloat16>(device, sizes, weights, positions, forward, backward);
  if constexpr (test::kHasFloat16) check<X, Float16>(device, sizes, weights, positions, forward, backward);
}

TEST(GatherRows, TakesOneRowASample) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Sizes& sizes : kCases) {
      SCOPED_TRACE(testing::Message() << sizes[0] << " x " << sizes[1] << " x " << sizes[2]);
      std::vector<int32_t> index, shifted;
      Weights weights(static_cast<std::size_t>(sizes[0] * sizes[1]));
      Weights same_row = weights;
      const auto row = static_cast<int32_t>(sizes[1] / 2);
      for (int64_t b = 0; b < sizes[0]; ++b) {
        index.push_back(static_cast<int32_t>((b * 31 + sizes[1] - 1) % sizes[1]));
        shifted.push_back(index.back() + 1);
        weights[static_cast<std::size_t>(b * sizes[1] + index.back())] = 1.0;
        same_row[static_cast<std::size_t>(b * sizes[1] + row)] = 1.0;
      }
      const DeviceArray<int32_t> given(device, index), given_shifted(device, shifted);
      check_all_outputs<T>(device, sizes, weights, {given.data()}, gather_rows, gather_rows_backward);
      check<T, float>(device, sizes, weights, {given_shifted.data(), -1}, gather_rows, gather_rows_backward);
      check<T, T>(device, sizes, same_row, {nullptr, row}, gather_rows, gather_rows_backward);
    }
  });
}

TEST(MeanPool, AveragesTheFirstRows) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Sizes& sizes : kCases) {
      for (const bool ragged : {false, true}) {
        SCOPED_TRACE(testing::Message() << sizes[0] << " x " << sizes[1] << " x " << sizes[2] << " ragged " << ragged);
        std::vector<int32_t> lengths;
        Weights weights(static_cast<std::size_t>(sizes[0] * sizes[1]));
        for (int64_t b = 0; b < sizes[0]; ++b) {
          // 0 and the whole sequence are among them.
          lengths.push_back(static_cast<int32_t>(ragged ? (b == 1 ? 0 : sizes[1] - b % sizes[1]) : sizes[1]));
          for (int64_t s = 0; s < lengths.back(); ++s) {
            weights[static_cast<std::size_t>(b * sizes[1] + s)] = 1.0 / lengths.back();
          }
        }
        const DeviceArray<int32_t> given(device, lengths);
        check_all_outputs<T>(device, sizes, weights, {nullptr, 0, ragged ? given.data() : nullptr}, mean_pool,
                             mean_pool_backward);
      }
    }
  });
}

/// On the CPU an error; on a GPU, where the host does not see the positions, NaN for the sample, and the others as
/// ever.
TEST(Pooling, RefusesPositionsOutsideOfTheSequence) {
  test::for_devices([](Device& device) {
    const std::vector<float> x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [2, 3, 2]
    const DeviceArray<float> input(device, x), gradient(device, std::vector<float>{1, 2, 3, 4});
    DeviceArray<float> out(device, 4), dx(device, 12);
    const auto check_bad = [&](const std::vector<int32_t>& positions, int32_t offset, bool gathers) {
      const DeviceArray<int32_t> given(device, positions);
      const int32_t* index = gathers ? given.data() : nullptr;
      const int32_t* lengths = gathers ? nullptr : given.data();
      const PoolForwardArgs args{input.data(),    index,          offset, lengths, out.data(), 2, 3, 2,
                                 DType::kFloat32, DType::kFloat32};
      const PoolBackwardArgs backward_args{gradient.data(), index,          offset, lengths, dx.data(), 2, 3, 2,
                                           DType::kFloat32, DType::kFloat32};
      const auto forward = gathers ? gather_rows : mean_pool;
      const auto backward = gathers ? gather_rows_backward : mean_pool_backward;
      if (device.kind() == "cpu") {
        EXPECT_THROW(forward(device.stream(), args), InternalError);
        EXPECT_THROW(backward(device.stream(), backward_args), InternalError);
        return;
      }
      forward(device.stream(), args);
      backward(device.stream(), backward_args);
      const std::vector<float> pooled = out.host(), spread = dx.host();
      for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(std::isnan(pooled[i]), i >= 2) << i;
      for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(std::isnan(spread[i]), i >= 6) << i;
    };
    for (const int32_t bad : {-1, 3, 1 << 30}) check_bad({2, bad}, 0, true);
    check_bad({-1, 2}, 1, true);
    for (const int32_t bad : {-1, 4}) check_bad({3, bad}, 0, false);
  });
}

}  // namespace
}  // namespace triptych
