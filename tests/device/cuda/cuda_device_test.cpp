// What only a device of the CUDA backend does; under emulation.

#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "device/backend.h"
#include "device/cuda/cuda_info.h"
#include "device/cuda/environment.h"
#include "device/cuda/launch.h"
#include "device/out_of_memory.h"
#include "emulator/runtime/counters.h"
#include "emulator/runtime/runtime.h"

namespace triptych::test {
namespace {

class CudaDeviceTest : public ::testing::Test {
 protected:
  /// Another machine. There is no device when it is called.
  static void on_machine(const std::function<void(emulator::Options&)>& change) {
    emulator::Options options = emulator::Options::from_environment();
    change(options);
    emulator::restart(options);
  }
  void TearDown() override {
    on_machine([](emulator::Options&) {});
  }
};

template <typename Expected>
std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error of the kind";
  return {};
}

TEST_F(CudaDeviceTest, TakesTheGpuThatItIsToldAndNoOther) {
  on_machine([](emulator::Options& options) { options.num_devices = 2; });
  Device device(1, 1);
  EXPECT_EQ(device.kind(), "cuda");
  EXPECT_EQ(device.state().gpu, 1);
  EXPECT_TRUE(device.description().starts_with("GPU 1, PTX emulator")) << device.description();
  int gpu = -1;
  EXPECT_EQ(cudaGetDevice(&gpu), cudaSuccess);
  EXPECT_EQ(gpu, 1);
  EXPECT_EQ(error_of<UserError>([] { Device(1, 2); }),
            "[device] a GPU must be one of those that the process sees: GPU 2, found 2. Look at CUDA_VISIBLE_DEVICES");
}

TEST_F(CudaDeviceTest, TellsDevicesApartByWhatTheyAreAndNotByTheirNumber) {
  on_machine([](emulator::Options& options) { options.num_devices = 4; });
  const std::vector<std::string> all = visible_devices();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[2], "GPU-03000000-0000-0000-0000-000000000000");
  on_machine([](emulator::Options& options) {
    options.num_devices = 2;
    options.visible_devices = {3, 1};
  });
  EXPECT_EQ(visible_devices(), (std::vector<std::string>{all[3], all[1]}));
  // An instance of a partitioned GPU, of which a process sees one.
  ::setenv("CUDA_VISIBLE_DEVICES", "MIG-41b36325,MIG-5", 1);
  EXPECT_EQ(visible_devices(), std::vector<std::string>{"MIG-41b36325"});
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

// In CUDA before 12.3 NCCL orders communicators by letting one wait for the end of the other, which two neighbours of a
// pipeline that send to each other would never see.
TEST_F(CudaDeviceTest, OrdersCommunicatorsOnlyWhereTheyOverlapStill) {
  const auto names = [](int runtime, int driver) {
    std::vector<std::string> found;
    for (const EnvironmentSetting& setting : cuda_environment(runtime, driver)) {
      found.push_back(setting.name + "=" + setting.value);
    }
    return found;
  };
  const std::vector<std::string> always{"CUDA_MODULE_LOADING=EAGER", "CUDA_DEVICE_MAX_CONNECTIONS=32"};
  std::vector<std::string> with_order = always;
  with_order.push_back("NCCL_LAUNCH_ORDER_IMPLICIT=1");
  EXPECT_EQ(names(13000, 13000), with_order);
  EXPECT_EQ(names(12030, 12030), with_order);
  EXPECT_EQ(names(12080, 12020), always);  // a newer program on an older driver, which CUDA allows
  EXPECT_EQ(names(12020, 13000), always);
  EXPECT_EQ(names(13000, 0), always);
}

TEST_F(CudaDeviceTest, IsRefusedWithoutADriver) {
  on_machine([](emulator::Options& options) { options.num_devices = 0; });
  EXPECT_EQ(error_of<UserError>([] { Device(1, 0); }),
            "[device] device = \"cuda\" needs NVIDIA's driver: libcuda.so.1 was not found. Install the driver, or set "
            "device = \"cpu\"");
  const CudaInfo info = cuda_info();
  EXPECT_TRUE(info.gpus.empty());
  EXPECT_EQ(info.driver_version, 0);
  EXPECT_NE(info.problem.find("(35)"), std::string::npos) << info.problem;
  EXPECT_NE(info.summary().find("0 GPUs"), std::string::npos) << info.summary();
}

TEST_F(CudaDeviceTest, IsDescribed) {
  on_machine([](emulator::Options& options) { options.num_devices = 3; });
  const CudaInfo info = cuda_info();
  ASSERT_EQ(info.gpus.size(), 3u);
  EXPECT_EQ(info.problem, "");
  EXPECT_GT(info.runtime_version, 12000);
  EXPECT_NE(info.gpu_lines()[2].find("compute capability"), std::string::npos) << info.gpu_lines()[2];
}

TEST_F(CudaDeviceTest, SaysWhoHasTheMemory) {
  on_machine([](emulator::Options& options) { options.memory_bytes = std::size_t{64} << 20; });
  Device device(1);
  const Buffer held = device.allocate(std::size_t{40} << 20, MemoryPart::kGradients);
  const std::string error = error_of<OutOfMemory>([&] { device.allocate(std::size_t{30} << 20); });
  EXPECT_TRUE(error.starts_with(
      "[device] out of memory on GPU 0: 30.00 MiB were asked for (activations and workspace), 40.00 MiB "
      "are in use (gradients 40.00 MiB), 40.00 MiB are held; of the 64.00 MiB that it has, 24.00 MiB "
      "are free. Most of it is the model"))
      << error;
  // It goes on, and the failure is not found again by the next check.
  check_launch("nothing");
  EXPECT_EQ(device.allocate(std::size_t{20} << 20).size(), std::size_t{20} << 20);
  const std::string scratch = error_of<OutOfMemory>([&] { device.stream().scratch(std::size_t{50} << 20); });
  EXPECT_NE(scratch.find("40.00 MiB are in use (gradients 40.00 MiB)"), std::string::npos) << scratch;
}

TEST_F(CudaDeviceTest, ASteadyStepNeitherSynchronisesNorAsksTheDriverForMemory) {
  Device device(1);
  HostBuffer loss = device.allocate_host(sizeof(float)), batch = device.allocate_host(1 << 16);
  Event last_loss, last_upload;
  const auto step = [&] {
    wait_on_host(last_upload, nullptr);
    std::fill(batch.data(), batch.data() + batch.size(), std::byte{1});
    const Buffer inputs = device.allocate(batch.size()), activations = device.allocate(1 << 20);
    last_upload = device.upload(inputs.data(), batch, batch.size(), device.record());
    device.wait(last_upload);
    device.copy(activations.data(), inputs.data(), batch.size());
    const float scale = 0.5f;
    device.write(activations.data(), &scale, sizeof scale);
    wait_on_host(last_loss, nullptr);  // of the step before
    last_loss = device.download(loss, activations.data(), sizeof(float));
  };
  step();
  step();
  const MemoryStats before = device.memory();
  emulator::reset_counters();
  for (int i = 0; i < 10; ++i) step();
  const emulator::Counts counts = emulator::counters();
  EXPECT_EQ(counts.drains, 0u);
  EXPECT_EQ(counts.event_waits, 0u);
  EXPECT_EQ(counts.staged_copies, 0u);
  EXPECT_EQ(device.memory().num_system_allocations, before.num_system_allocations);
  EXPECT_EQ(device.memory().held_bytes, before.held_bytes);
  wait_on_host(last_loss, nullptr);
  EXPECT_EQ(*reinterpret_cast<const float*>(loss.data()), 0.5f);
}

TEST_F(CudaDeviceTest, AWatchEndsEveryWaitOfTheHost) {
  // Where nothing runs in the thread that queues it: below that would wait for itself.
  on_machine([](emulator::Options& options) { options.streams.mode = emulator::StreamMode::deferred; });
  Device device(1);
  const Buffer buffer = device.allocate(16);
  device.zero(buffer.data(), 16);
  device.synchronize();
  int num_polls = 0;
  const auto owner = &num_polls;
  device.state().watches->add(owner, [&] {
    if (++num_polls > 3) throw WorldError("test", "a peer has died");
  });
  // Work that never ends: the host function waits until this test lets it go.
  std::atomic<bool> go = false;
  const auto wait_for_go = [](void* flag) {
    while (!static_cast<std::atomic<bool>*>(flag)->load()) {
    }
  };
  ASSERT_EQ(cudaLaunchHostFunc(cuda_stream(device.stream()), wait_for_go, &go), cudaSuccess);
  char bytes[16];
  EXPECT_THROW(device.read(bytes, buffer.data(), 16), WorldError);
  EXPECT_THROW(device.synchronize(), WorldError);
  EXPECT_THROW(wait_on_host(device.record(), nullptr), WorldError);
  device.state().watches->remove(owner);
  go = true;
  device.read(bytes, buffer.data(), 16);
  EXPECT_EQ(bytes[15], 0);
}

}  // namespace
}  // namespace triptych::test
