// The measurement of the peak beside a run that needs the memory and the ranks; under emulation.

#include <algorithm>
#include <atomic>

#include <gtest/gtest.h>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/launch.h"
#include "emulator/runtime/counters.h"
#include "emulator/runtime/runtime.h"
#include "kernels/gemm_peak.h"

namespace triptych::test {
namespace {

class GemmPeakMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    emulator::Options options = emulator::Options::from_environment();
    options.memory_bytes = std::size_t{64} << 20;
    options.streams.mode = emulator::StreamMode::deferred;
    emulator::restart(options);
  }
  void TearDown() override { emulator::restart(emulator::Options::from_environment()); }
};

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST_F(GemmPeakMemory, GivesBackWhatItTook) {
  Device device(1);
  const Buffer model = device.allocate(3 * kMiB);
  ASSERT_TRUE(measure_gemm_peak(device, DType::kFloat32));
  const MemoryStats before = device.memory();  // with the products' workspace, which stays
  ASSERT_TRUE(measure_gemm_peak(device, DType::kBFloat16));
  EXPECT_EQ(device.memory().held_bytes, before.held_bytes);
  EXPECT_EQ(device.memory().used_bytes, before.used_bytes);
}

// A run that has nearly all: there is no peak, and the run goes on with what it has.
TEST_F(GemmPeakMemory, IsDoneWithoutWhereARunHasTheMemory) {
  Device device(1);
  ASSERT_TRUE(measure_gemm_peak(device, DType::kFloat32));
  const std::size_t in_use = device.memory().used_bytes;
  const Buffer model = device.allocate(64 * kMiB - in_use - kMiB);
  emulator::reset_counters();
  EXPECT_FALSE(measure_gemm_peak(device, DType::kFloat32));
  EXPECT_EQ(emulator::counters().matmuls.calls, 0u) << "1 MiB is not enough for the smallest, which takes a half of it";
  check_launch("nothing");
  EXPECT_EQ(device.allocate(kMiB / 2).size(), kMiB / 2);
}

TEST_F(GemmPeakMemory, IsEndedByAWatch) {
  Device device(1);
  device.synchronize();
  int num_polls = 0;
  device.state().watches->add(&num_polls, [&] {
    if (++num_polls > 3) throw WorldError("test", "a peer has died");
  });
  // What the stream waits for never comes, as from a peer that has died.
  std::atomic<bool> go = false;
  const auto wait_for_go = [](void* flag) {
    while (!static_cast<std::atomic<bool>*>(flag)->load()) {
    }
  };
  ASSERT_EQ(cudaLaunchHostFunc(cuda_stream(device.stream()), wait_for_go, &go), cudaSuccess);
  EXPECT_THROW(measure_gemm_peak(device, DType::kFloat32), WorldError);
  device.state().watches->remove(&num_polls);
  go = true;
  device.synchronize();
}

}  // namespace
}  // namespace triptych::test
