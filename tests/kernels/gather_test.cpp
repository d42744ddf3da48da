#include "kernels/gather.h"

#include <algorithm>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using Doubles = std::vector<double>;

struct Sizes {
  int64_t batch, seq, count, cols;
};
const std::vector<Sizes> kCases{{0, 3, 1, 5}, {1, 1, 1, 1},     {3, 5, 4, 7},   {5, 77, 1, 65},
                                {2, 5, 0, 3}, {3, 13, 7, 1031}, {2, 11, 5, 264}};

template <typename T>
double value(const std::vector<T>& values, int64_t i) {
  return static_cast<double>(static_cast<float>(values[static_cast<std::size_t>(i)]));
}

/// `taken`: the tokens by [batch, count], -1 for none; `tokens` says the same in device memory.
template <typename X, typename Out>
void check(Device& device, const Sizes& sizes, const std::vector<int32_t>& taken, const GatheredTokens& tokens) {
  const auto [batch, seq, count, cols] = sizes;
  const std::vector<X> x = test::normals<X>(batch * seq * cols, "x");
  const std::vector<Out> dout = test::normals<Out>(batch * count * cols, "dout");
  Doubles out_expected(dout.size()), dx_expected(x.size());
  for (int64_t i = 0; i < batch * count; ++i) {
    const int64_t s = taken[static_cast<std::size_t>(i)];
    if (s < 0) continue;
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t from = (i / count * seq + s) * cols + c;
      out_expected[static_cast<std::size_t>(i * cols + c)] = value(x, from);
      dx_expected[static_cast<std::size_t>(from)] += value(dout, i * cols + c);
    }
  }
  const DeviceArray<X> input(device, x);
  const DeviceArray<Out> gradient(device, dout);
  DeviceArray<Out> out(device, batch * count * cols);
  gather_tokens(device.stream(), {input.data(), out.data(), tokens, dtype_of<X>, dtype_of<Out>});
  test::expect_close(out.host(), out_expected, test::tolerance(dtype_of<Out>).local, "out");
  DeviceArray<X> dx(device, batch * seq * cols);
  gather_tokens_backward(device.stream(), {gradient.data(), dx.data(), tokens, dtype_of<X>, dtype_of<Out>});
  test::expect_close(dx.host(), dx_expected, test::tolerance(dtype_of<X>).local, "dx");
}

TEST(GatherTokens, TakesAnyTokensOfASample) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Sizes& sizes : kCases) {
      SCOPED_TRACE(testing::Message() << sizes.batch << " x " << sizes.seq << " x " << sizes.cols << ", "
                                      << sizes.count);
      const auto [batch, seq, count, cols] = sizes;
      // Some repeat, and some are none; an offset leaves those alone.
      std::vector<int32_t> taken, shifted;
      for (int64_t i = 0; i < batch * count; ++i) {
        taken.push_back(i % 4 == 2 ? -1 : static_cast<int32_t>((i * i + seq - 1) % seq));
        shifted.push_back(taken.back() < 0 ? -5 : taken.back() + 3);
      }
      const DeviceArray<int32_t> index(device, taken), index_plus_3(device, shifted);
      const GatheredTokens tokens{index.data(), 0, batch, seq, count, cols};
      check<T, float>(device, sizes, taken, tokens);
      check<T, BFloat16>(device, sizes, taken, tokens);
      if constexpr (test::kHasFloat16) check<T, Float16>(device, sizes, taken, tokens);
      check<T, T>(device, sizes, taken, {index_plus_3.data(), -3, batch, seq, count, cols});
      // An offset that would make tokens of those that are none.
      const auto later = static_cast<int32_t>(seq > 2 ? 2 : 0);
      std::vector<int32_t> taken_later = taken, before = taken;
      for (std::size_t i = 0; i < taken.size(); ++i) {
        if (taken[i] >= 0) taken_later[i] = std::max(taken[i], later);
        if (taken[i] >= 0) before[i] = taken_later[i] - later;
      }
      const DeviceArray<int32_t> index_before(device, before);
      check<T, T>(device, sizes, taken_later, {index_before.data(), later, batch, seq, count, cols});
      const auto middle = static_cast<int32_t>(seq / 2);
      check<T, T>(device, sizes, std::vector<int32_t>(taken.size(), middle),
                  {nullptr, middle, batch, seq, count, cols});
    }
  });
}

TEST(GatherTokens, SumsWhatRepeatsInOrderAndRoundsItOnce) {
  test::for_cases([]<typename T>(Device& device, T) {
    // In order 1 + 2^24 - 2^24 is 0, in another 1, and with a rounding to 16 bits after each 0.25 is lost beside 64.
    const std::vector<float> in_order{1.0f, 0x1p24f, -0x1p24f, 64.0f, 0.25f, -64.0f, -0.0f};
    const DeviceArray<int32_t> index(device, std::vector<int32_t>{2, 2, 2, 0, 0, 0, 1});
    const DeviceArray<float> gradient(device, in_order);
    DeviceArray<T> dx(device, 4);
    gather_tokens_backward(device.stream(), {gradient.data(), dx.data(), {index.data(), 0, 1, 4, 7, 1}, dtype_of<T>});
    EXPECT_TRUE(test::same_bits(dx.host(), {T(0.25f), T(-0.0f), T(0.0f), T(0.0f)}));
  });
}

/// On the CPU an error; on a GPU, where the host does not see the index, NaN for the token, and for its sample's
/// gradient; the others as ever.
TEST(GatherTokens, RefusesTokensOutsideOfTheSequence) {
  test::for_devices([](Device& device) {
    const std::vector<float> x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [2, 3, 2]
    const DeviceArray<float> input(device, x), gradient(device, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
    DeviceArray<float> out(device, 8), dx(device, 12);
    const auto check_bad = [&](const std::vector<int32_t>& given, int32_t offset) {
      const DeviceArray<int32_t> index(device, given);
      const GatheredTokens tokens{index.data(), offset, 2, 3, 2, 2};
      if (device.kind() == "cpu") {
        EXPECT_THROW(gather_tokens(device.stream(), {input.data(), out.data(), tokens}), InternalError);
        EXPECT_THROW(gather_tokens_backward(device.stream(), {gradient.data(), dx.data(), tokens}), InternalError);
        return;
      }
      gather_tokens(device.stream(), {input.data(), out.data(), tokens});
      gather_tokens_backward(device.stream(), {gradient.data(), dx.data(), tokens});
      const std::vector<float> gathered = out.host(), spread = dx.host();
      for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(std::isnan(gathered[i]), i / 2 == 2) << i;
      for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(std::isnan(spread[i]), i >= 6) << i;
    };
    for (const int32_t bad : {3, 1 << 30}) check_bad({2, -1, bad, 0}, 0);
    check_bad({1, 2, 0, 3}, -1);
  });
}

TEST(Pick, TakesOneElementARow) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 1}, {7, 5}, {3, 1031}}) {
      std::vector<int32_t> index;
      for (int64_t r = 0; r < rows; ++r) index.push_back(r == 2 ? -1 : static_cast<int32_t>((r * r + cols - 1) % cols));
      const std::vector<T> x = test::normals<T>(rows * cols, "x");
      const std::vector<float> dy = test::normals<float>(rows, "dy");
      std::vector<float> y_expected(dy.size());
      std::vector<T> dx_expected(x.size(), T(0.0f));
      for (std::size_t r = 0; r < dy.size(); ++r) {
        if (index[r] < 0) continue;
        const std::size_t at = r * static_cast<std::size_t>(cols) + static_cast<std::size_t>(index[r]);
        y_expected[r] = static_cast<float>(x[at]);
        dx_expected[at] = T(dy[r]);
      }
      const DeviceArray<T> input(device, x);
      const DeviceArray<float> gradient(device, dy);
      const DeviceArray<int32_t> picked(device, index);
      DeviceArray<float> y(device, rows);
      DeviceArray<T> dx(device, rows * cols);
      pick(device.stream(), {input.data(), picked.data(), y.data(), rows, cols, dtype_of<T>});
      pick_backward(device.stream(), {gradient.data(), picked.data(), dx.data(), rows, cols, dtype_of<T>});
      EXPECT_TRUE(test::same_bits(y.host(), y_expected)) << rows << " x " << cols;
      EXPECT_TRUE(test::same_bits(dx.host(), dx_expected)) << rows << " x " << cols;
    }
  });
}

}  // namespace
}  // namespace triptych::test
