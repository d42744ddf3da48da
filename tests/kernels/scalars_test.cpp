#include "kernels/scalars.h"

#include <limits>
#include <vector>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

TEST(Scalars, CountsWhatIsPresent) {
  test::for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 300, 1031}) {
      std::vector<int32_t> targets;
      std::vector<uint8_t> flags;
      double expected_targets = 5, expected_flags = 7;  // added to what is there
      for (int64_t i = 0; i < n; ++i) {
        targets.push_back(static_cast<int32_t>(i % 7) - 2);  // -2 to 4: 0 counts
        flags.push_back(static_cast<uint8_t>(i % 3));
        expected_targets += i % 7 >= 2 ? 1 : 0;
        expected_flags += i % 3 != 0 ? 1 : 0;
      }
      DeviceArray<double> counts(device, std::vector<double>{5, 7});
      count_present(device.stream(), DeviceArray<int32_t>(device, targets).data(), DType::kInt32, n, counts.data());
      count_present(device.stream(), DeviceArray<uint8_t>(device, flags).data(), DType::kUInt8, n, counts.data() + 1);
      EXPECT_EQ(counts.host(), (std::vector<double>{expected_targets, expected_flags})) << n;
    }
    EXPECT_THROW(count_present(device.stream(), nullptr, DType::kFloat32, 0, nullptr), InternalError);
  });
}

TEST(Scalars, AddsAndDivides) {
  test::for_devices([](Device& device) {
    const std::vector<double> a{1.5, -2, 0, 1e300}, b{0.25, 4, -1, 1e300};
    DeviceArray<double> sum(device, a);
    add_doubles(device.stream(), sum.data(), DeviceArray<double>(device, b).data(), 4);
    EXPECT_EQ(sum.host(), (std::vector<double>{1.75, 2, -1, 2e300}));
    DeviceArray<double> quotient(device, a);
    divide_doubles(device.stream(), quotient.data(), quotient.data(), 3,
                   DeviceArray<double>(device, std::vector{7.0}).data(), 3);
    EXPECT_EQ(quotient.host(), (std::vector<double>{4.5 / 7, -6.0 / 7, 0, 1e300}));
    // A mean over nothing is nothing, whatever the sum.
    DeviceArray<double> none(device, std::vector{std::numeric_limits<double>::infinity()});
    divide_doubles(device.stream(), none.data(), none.data(), 1, DeviceArray<double>(device, std::vector{0.0}).data(),
                   1);
    EXPECT_EQ(none.host(), std::vector<double>{0});
  });
}

}  // namespace
}  // namespace triptych::test
