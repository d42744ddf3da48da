#include "kernels/random.h"

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

TEST(FillNormal, GivesTheValuesOfPhiloxNormal) {
  const RandomKey key = random_key(11, "weights", 0);
  test::for_devices([&](Device& device) {
    for (const FillNormalArgs& base : {FillNormalArgs{nullptr, 0, 5, 0, 5, key, 0, 1},
                                       {nullptr, 1, 1, 1, 0, key, 0, 1},
                                       {nullptr, 3, 7, 5, 11, key, 0, 1},
                                       {nullptr, 1, 20011, 0, 0, key, 0.5f, 0.02f},
                                       {nullptr, 61, 257, 3, 1031, key, 0, 2},
                                       {nullptr, 5, 2051, 0x1fffffff7, 0x100000001, key, 0, 1}}) {
      FillNormalArgs args = base;
      SCOPED_TRACE(testing::Message() << args.rows << " x " << args.cols << " from " << args.begin);
      DeviceArray<float> filled(device, std::vector<float>(static_cast<std::size_t>(args.rows * args.cols), 99.0f));
      args.out = filled.data();
      fill_normal(device.stream(), args);
      const std::vector<float> out = filled.host();
      for (int64_t i = 0; i < args.rows * args.cols; ++i) {
        const int64_t global = args.begin + i / args.cols * args.row_stride + i % args.cols;
        const double expected = static_cast<double>(args.mean) +
                                static_cast<double>(args.std) * philox_normal(key, static_cast<uint64_t>(global));
        ASSERT_NEAR(
            static_cast<double>(out[static_cast<std::size_t>(i)]), expected,
            test::tolerance(DType::kFloat32).local * std::max(static_cast<double>(args.std), std::abs(expected)))
            << i;
      }
    }
  });
}

TEST(FillNormal, WindowsHaveTheBitsOfTheWhole) {
  test::for_devices([](Device& device) {
    const RandomKey key = random_key(11, "weights", 0);
    DeviceArray<float> of_whole(device, 37 * 53), of_window(device, 11 * 19);
    fill_normal(device.stream(), {of_whole.data(), 37, 53, 0, 53, key, 0.0f, 0.02f});
    fill_normal(device.stream(), {of_window.data(), 11, 19, 5 * 53 + 8, 53, key, 0.0f, 0.02f});
    const std::vector<float> whole = of_whole.host(), window = of_window.host();
    for (std::size_t i = 0; i < window.size(); ++i) {
      ASSERT_EQ(window[i], whole[(5 + i / 19) * 53 + 8 + i % 19]) << i;
    }
  });
}

TEST(FillNormal, HasTheMomentsOfANormal) {
  Device device(2);
  DeviceArray<float> filled(device, 1000000);
  fill_normal(device.stream(), {filled.data(), 1, 1000000, 0, 0, random_key(5, "moments", 0), 0.0f, 1.0f});
  const std::vector<float> out = filled.host();
  double sum = 0, squares = 0, fourth = 0;
  for (const float value : out) {
    const double x = static_cast<double>(value);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  // Five standard deviations of each estimate over a million values.
  EXPECT_NEAR(sum / 1e6, 0.0, 5 * 1e-3);
  EXPECT_NEAR(squares / 1e6, 1.0, 5 * 1e-3 * std::sqrt(2.0));
  EXPECT_NEAR(fourth / 1e6, 3.0, 5 * 1e-3 * std::sqrt(96.0));
}

}  // namespace
}  // namespace triptych::test
