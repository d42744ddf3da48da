#include "kernels/patchify.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

TEST(Patchify, IsTheConvolutionsOrder) {
  const std::array<float, 3> mean{0.48145466f, 0.4578275f, 0.40821073f}, std{0.26862954f, 0.26130258f, 0.27577711f};
  test::for_cases([&]<typename T>(Device& device, T) {
    for (const auto& [batch, size, patch] :
         std::vector<std::array<int64_t, 3>>{{0, 4, 2}, {1, 1, 1}, {2, 6, 3}, {3, 35, 7}, {2, 112, 16}}) {
      SCOPED_TRACE(testing::Message() << batch << " images of " << size << ", patches of " << patch);
      std::vector<uint8_t> pixels;
      for (int64_t i = 0; i < batch * size * size * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 89 % 257));
      const int64_t across = size / patch;
      std::vector<double> expected;
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t p = 0; p < across * across; ++p) {
          for (int64_t c = 0; c < 3; ++c) {
            for (int64_t y = 0; y < patch; ++y) {
              for (int64_t x = 0; x < patch; ++x) {
                const int64_t row = p / across * patch + y, col = p % across * patch + x;
                const double pixel = pixels[static_cast<std::size_t>(((b * size + row) * size + col) * 3 + c)];
                const auto channel = static_cast<std::size_t>(c);
                expected.push_back((pixel / 255 - static_cast<double>(mean[channel])) /
                                   static_cast<double>(std[channel]));
              }
            }
          }
        }
      }
      DeviceArray<T> patches(device, static_cast<int64_t>(expected.size()));
      patchify(device.stream(), {DeviceArray<uint8_t>(device, pixels).data(), patches.data(), batch, size, patch, mean,
                                 std, dtype_of<T>});
      test::expect_close(patches.host(), expected, test::tolerance(dtype_of<T>).local, "patches");
    }
    EXPECT_THROW(patchify(device.stream(), {nullptr, nullptr, 1, 10, 3, mean, std, DType::kFloat32}), InternalError);
  });
}

}  // namespace
}  // namespace triptych::test
