#include "kernels/weight_average.h"

#include <limits>
#include <string>

#include "kernel_support.h"

namespace triptych::test {
namespace {

UpdateState decided(bool apply) {
  UpdateState state;
  state.num_updates = 3;
  state.apply = apply ? 1 : 0;
  return state;
}

/// Averages over three steps, of which the second is skipped, against double.
void check_averages(Device& device, const std::vector<int64_t>& sizes) {
  const double decay = 0.875;  // 1 - decay is a float
  std::vector<DeviceArray<float>> averages, values;
  std::vector<std::vector<double>> expected;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    const std::vector<float> start = normals<float>(sizes[t], "start" + std::to_string(t));
    averages.emplace_back(device, start);
    values.emplace_back(device, start);
    expected.push_back(to_doubles(start));
  }
  for (int step = 0; step < 3; ++step) {
    const bool apply = step != 1;
    std::vector<AverageTensor> tensors;
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      std::vector<float> value = normals<float>(sizes[t], "value" + std::to_string(step) + "of" + std::to_string(t));
      if (!apply) value.assign(value.size(), std::numeric_limits<float>::quiet_NaN());
      device.write(values[t].data(), value.data(), value.size() * sizeof(float));
      for (std::size_t i = 0; apply && i < value.size(); ++i) {
        expected[t][i] = decay * expected[t][i] + (1 - decay) * static_cast<double>(value[i]);
      }
      tensors.push_back({averages[t].data(), values[t].data(), sizes[t]});
    }
    const DeviceArray<UpdateState> state(device, {decided(apply)});
    update_averages(device.stream(), {.tensors = tensors, .decay = decay, .state = state.data()});
  }
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    expect_close(averages[t].host(), expected[t], tolerance(DType::kFloat32).local, "average");
  }
}

TEST(WeightAverage, FollowsItsDefinitionAndLeavesOutSkippedSteps) {
  for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 7, 65, 257, 40009}) check_averages(device, {n});
    // More tensors than one launch takes.
    std::vector<int64_t> sizes{5000, 0, 1, 4096, 4097};
    for (int64_t n = 0; n < 250; ++n) sizes.push_back(n * 7 % 40);
    check_averages(device, sizes);
  });
}

/// A rank that owns a piece of a tensor averages it to the very bits that the whole would get.
TEST(WeightAverage, PiecesGiveTheSameBits) {
  for_devices([](Device& device) {
    const std::vector<float> start = normals<float>(1000, "start"), value = normals<float>(1000, "value");
    DeviceArray<float> whole(device, start), pieces(device, start);
    const DeviceArray<float> values(device, value);
    const DeviceArray<UpdateState> state(device, {decided(true)});
    const auto update = [&](const std::vector<AverageTensor>& tensors) {
      update_averages(device.stream(), {.tensors = tensors, .decay = 0.999, .state = state.data()});
    };
    update({{whole.data(), values.data(), 1000}});
    update({{pieces.data(), values.data(), 333}, {pieces.data() + 333, values.data() + 333, 1}});
    update({{pieces.data() + 334, values.data() + 334, 666}});
    EXPECT_FALSE(same_bits(whole.host(), start));
    EXPECT_TRUE(same_bits(whole.host(), pieces.host()));
  });
}

}  // namespace
}  // namespace triptych::test
