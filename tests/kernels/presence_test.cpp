#include "kernels/presence.h"

#include <vector>

#include "kernel_support.h"

namespace triptych::test {
namespace {

TEST(Presence, IsThatOfBoth) {
  for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 300, 1031}) {
      std::vector<uint8_t> a, b, expected;
      for (int64_t i = 0; i < n; ++i) {
        a.push_back(static_cast<uint8_t>(i % 3));
        b.push_back(i % 4 == 0 ? 0 : 255);
        expected.push_back(i % 3 != 0 && i % 4 != 0 ? 1 : 0);
      }
      DeviceArray<uint8_t> out(device, a);
      both_present(device.stream(), out.data(), DeviceArray<uint8_t>(device, b).data(), out.data(), n);
      EXPECT_EQ(out.host(), expected) << n;
    }
  });
}

TEST(Presence, TakesTheTargetsOfAbsentSamples) {
  for_devices([](Device& device) {
    for (const int64_t per_sample : {1, 7}) {
      for (const int64_t num_samples : {0, 1, 45}) {
        std::vector<int32_t> targets, expected;
        std::vector<uint8_t> present;
        for (int64_t s = 0; s < num_samples; ++s) present.push_back(static_cast<uint8_t>(s % 3));
        for (int64_t i = 0; i < num_samples * per_sample; ++i) {
          targets.push_back(static_cast<int32_t>(i % 11) - 2);  // some have none
          expected.push_back(i / per_sample % 3 == 0 ? -1 : targets.back());
        }
        const DeviceArray<int32_t> given(device, targets);
        DeviceArray<int32_t> out(device, std::vector<int32_t>(targets.size(), 99));
        targets_of_present(device.stream(), given.data(), DeviceArray<uint8_t>(device, present).data(), num_samples,
                           per_sample, out.data());
        EXPECT_EQ(out.host(), expected) << num_samples << " x " << per_sample;
      }
    }
  });
}

TEST(Presence, TakesEveryTokenOrTheOneInFrontOfAll) {
  for_devices([](Device& device) {
    for (const int64_t num_tokens : {1, 5}) {
      for (const int64_t num_samples : {0, 1, 211}) {
        std::vector<uint8_t> present;
        std::vector<int32_t> expected;
        for (int64_t s = 0; s < num_samples; ++s) {
          present.push_back(static_cast<uint8_t>(s % 3 * 100));
          for (int64_t t = 1; t <= num_tokens; ++t) expected.push_back(s % 3 == 0 ? 0 : static_cast<int32_t>(t));
        }
        DeviceArray<int32_t> out(device, std::vector<int32_t>(expected.size(), 99));
        sources_of_present(device.stream(), DeviceArray<uint8_t>(device, present).data(), num_samples, num_tokens,
                           out.data());
        EXPECT_EQ(out.host(), expected) << num_samples << " x " << num_tokens;
      }
    }
  });
}

TEST(Presence, CountsTheTokensInFrontOfASequence) {
  for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 523}) {
      std::vector<int32_t> lengths, expected;
      for (int64_t i = 0; i < n; ++i) {
        lengths.push_back(static_cast<int32_t>(i % 13));
        expected.push_back(lengths.back() + 49);
      }
      DeviceArray<int32_t> out(device, lengths);
      lengthen(device.stream(), out.data(), 49, n, out.data());
      EXPECT_EQ(out.host(), expected) << n;
    }
  });
}

}  // namespace
}  // namespace triptych::test
