#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {
namespace {

class DeviceTest : public EmulatorTest {};

TEST_F(DeviceTest, WithoutADriverEveryCallSaysSoAndTheCountStaysAsItWas) {
  start([](Options& options) { options.num_devices = 0; });
  int count = 77, version = 1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(count, 77);
  EXPECT_EQ(static_cast<int>(cudaErrorInsufficientDriver), 35);
  EXPECT_EQ(cudaSetDevice(0), cudaErrorInsufficientDriver);
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaMallocHost(&pointer, 4), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaMemcpy(pointer, pointer, 4, cudaMemcpyDefault), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 0);
  EXPECT_EQ(cudaRuntimeGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, CUDART_VERSION);
  EXPECT_STREQ(cudaGetErrorName(cudaGetLastError()), "cudaErrorInsufficientDriver");
}

TEST_F(DeviceTest, DevicesAreCountedAndChosenByThread) {
  int count = 0, device = -1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 1);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
}

TEST_F(DeviceTest, TheTargetIsTheComputeCapability) {
  for (const int target : {80, 86, 90}) {
    start([&](Options& options) { options.target = target; });
    cudaDeviceProp properties{};
    int major = 0, shared_bytes = 0;
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    ASSERT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
    ASSERT_EQ(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), cudaSuccess);
    EXPECT_EQ(properties.major * 10 + properties.minor, target);
    EXPECT_EQ(major, target / 10);
    EXPECT_EQ(shared_bytes, (target == 80 ? 163 : target == 86 ? 99 : 227) << 10);
    EXPECT_EQ(properties.totalGlobalMem, std::size_t{64} << 20);
  }
}

TEST_F(DeviceTest, MemoryAndStreamsBelongToADevice) {
  float* const here = upload(std::vector<float>{1, 2, 3});
  cudaStream_t stream = make_stream();
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  cudaEvent_t event = make_event();
  EXPECT_EQ(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
  float* const there = device(3);
  EXPECT_EQ(cudaMemcpy(there, here, 12, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(download(there, 3), (std::vector<float>{1, 2, 3}));
  violation("bad-argument", [&] {
    void* pool = nullptr;
    cudaMallocAsync(&pool, 4, nullptr);
    cudaFreeAsync(pool, stream);
  });
}

}  // namespace
}  // namespace triptych::emulator
