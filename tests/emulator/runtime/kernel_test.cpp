#include <algorithm>
#include <numeric>

#include "emulator/runtime/counters.h"
#include "emulator/runtime/emulator_test.h"
#include "emulator/runtime/test_kernels.h"

namespace triptych::emulator {
namespace {

constexpr int kCount = 1001;
constexpr std::size_t kBytes = kCount * sizeof(float);

class KernelTest : public EmulatorTest {};

TEST_F(KernelTest, SaxpyFromTheObjectFileOfNvcc) {
  for (const int target : {80, 90}) {
    for (const StreamMode mode :
         {StreamMode::deferred, StreamMode::eager, StreamMode::random, StreamMode::others_first}) {
      start([&](Options& options) {
        options.target = target;
        options.streams.mode = mode;
      });
      std::vector<float> x(kCount), y(kCount, 1.0f);
      std::iota(x.begin(), x.end(), 0.0f);
      float *const device_x = upload(x), *const device_y = upload(y);
      cudaStream_t stream = make_stream(cudaStreamDefault);
      launch_saxpy(kCount, 2.0f, device_x, device_y, stream);
      ASSERT_EQ(cudaGetLastError(), cudaSuccess);
      const std::vector<float> result = download(device_y, kCount);
      for (int i = 0; i < kCount; ++i)
        ASSERT_EQ(result[static_cast<std::size_t>(i)], 2.0f * static_cast<float>(i) + 1.0f);
    }
  }
}

TEST_F(KernelTest, AReaderThatComesFirstIsToldFromMemoryThatNobodyWrites) {
  float *const x = device(kCount), *const y = device(kCount);
  ASSERT_EQ(cudaMemset(y, 0, kBytes), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  cudaStream_t writer = make_stream(), reader = make_stream();
  launch_fill(x, kCount, 1.0f, 128, writer);
  launch_saxpy(kCount, 2.0f, x, y, reader);
  const std::string message = violation("stream-race", [&] { cudaStreamSynchronize(reader); });
  EXPECT_NE(message.find("saxpy on stream"), std::string::npos) << message;
  EXPECT_NE(message.find("fill"), std::string::npos) << message;

  float* const nobody = device(kCount);
  launch_saxpy(kCount, 2.0f, nobody, y, writer);
  violation("uninitialised-read", [&] { cudaStreamSynchronize(writer); });
}

TEST_F(KernelTest, AnEventBetweenThemMakesItRight) {
  float *const x = device(kCount), *const y = device(kCount);
  cudaStream_t writer = make_stream(), reader = make_stream();
  cudaEvent_t event = make_event();
  launch_fill(x, kCount, 3.0f, 100, writer);
  ASSERT_EQ(cudaEventRecord(event, writer), cudaSuccess);
  launch_fill(y, kCount, 1.0f, 128, reader);
  ASSERT_EQ(cudaStreamWaitEvent(reader, event), cudaSuccess);
  launch_saxpy(kCount, 2.0f, x, y, reader);
  ASSERT_EQ(cudaStreamSynchronize(reader), cudaSuccess);
  EXPECT_EQ(download(y, kCount), std::vector<float>(kCount, 7.0f));
}

TEST_F(KernelTest, ArgumentsAreThoseOfTheCall) {
  float* const x = device(kCount);
  for (int i = 0; i < 5; ++i) launch_fill(x, kCount, static_cast<float>(i), 128, nullptr);
  EXPECT_EQ(download(x, kCount), std::vector<float>(kCount, 4.0f));
}

TEST_F(KernelTest, AKernelUsesFreedMemory) {
  float* const x = device(kCount);
  ASSERT_EQ(cudaFree(x), cudaSuccess);
  launch_fill(x, kCount, 1.0f, 128, nullptr);
  violation("use-after-free", [] { cudaDeviceSynchronize(); });
}

TEST_F(KernelTest, AKernelGetsAHostPointer) {
  std::vector<float> host(kCount);
  launch_fill(host.data(), kCount, 1.0f, 128, nullptr);
  violation("host-pointer-in-kernel", [] { cudaDeviceSynchronize(); });
}

TEST_F(KernelTest, LaunchLimits) {
  float* const x = device(kCount);
  violation("launch-limit", [&] { launch_fill(x, 0, 1.0f, 128, nullptr); });
  violation("launch-limit", [&] { launch_fill(x, kCount, 1.0f, 129, nullptr); });  // __launch_bounds__(128)
  violation("launch-limit", [&] { launch_reverse(x, 1, 1025, nullptr); });
}

TEST_F(KernelTest, MoreThan48KilobytesOfSharedMemoryNeedOptIn) {
  constexpr int kOptIn = cudaFuncAttributeMaxDynamicSharedMemorySize;
  const auto attribute = static_cast<cudaFuncAttribute>(kOptIn);
  EXPECT_EQ(cudaFuncSetAttribute(reverse_kernel(), attribute, (227 << 10) + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reverse_kernel(), attribute, 227 << 10), cudaSuccess);
  cudaFuncAttributes attributes{};
  EXPECT_EQ(cudaFuncGetAttributes(&attributes, reverse_kernel()), cudaSuccess);
  EXPECT_EQ(attributes.maxDynamicSharedSizeBytes, 227 << 10);
  start([](Options& options) { options.target = 80; });
  EXPECT_EQ(cudaFuncSetAttribute(reverse_kernel(), attribute, 227 << 10), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reverse_kernel(), attribute, 0), cudaSuccess);
  violation("launch-limit", [&] { launch_reverse(device(32), 1, 32, nullptr); });
  EXPECT_EQ(cudaFuncSetAttribute(reverse_kernel(), attribute, 48 << 10), cudaSuccess);
}

// As CUDA may, which loads a kernel at its first launch unless it is told otherwise.
TEST_F(KernelTest, TheFirstLaunchWaitsForTheDeviceWhereKernelsAreLoadedLazily) {
  for (const bool lazy : {false, true}) {
    start([&](Options& options) { options.loads_lazily = lazy; });
    const cudaStream_t busy = make_stream(), other = make_stream();
    float* const x = device(kCount);
    float* const y = device(kCount);
    for (const bool first : {true, false}) {
      ASSERT_EQ(cudaMemsetAsync(x, 0, kCount * sizeof(float), busy), cudaSuccess);
      launch_fill(y, kCount, 1.0f, 128, other);
      EXPECT_EQ(cudaStreamQuery(busy), lazy && first ? cudaSuccess : cudaErrorNotReady);
    }
  }
}

TEST_F(KernelTest, DynamicSharedMemory) {
  std::vector<float> values(3 * 64);
  std::iota(values.begin(), values.end(), 0.0f);
  float* const x = upload(values);
  launch_reverse(x, 3, 64, nullptr);
  for (std::size_t i = 0; i < 3; ++i)
    std::reverse(values.begin() + static_cast<std::ptrdiff_t>(i * 64),
                 values.begin() + static_cast<std::ptrdiff_t>(i * 64 + 64));
  EXPECT_EQ(download(x, values.size()), values);
}

TEST_F(KernelTest, AttributesAndOccupancyComeFromTheObjectFile) {
  cudaFuncAttributes attributes{};
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, fill_kernel()), cudaSuccess);
  EXPECT_EQ(attributes.maxThreadsPerBlock, 128);
  EXPECT_GT(attributes.numRegs, 0);
  EXPECT_LE(attributes.numRegs, 32);
  EXPECT_EQ(attributes.ptxVersion, 90);
  int num_blocks = 0;
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&num_blocks, fill_kernel(), 128, 0), cudaSuccess);
  EXPECT_EQ(num_blocks, 16);  // 2048 threads
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&num_blocks, reverse_kernel(), 128, 47 << 10), cudaSuccess);
  EXPECT_EQ(num_blocks, 4);  // 48 KiB each, with the 1 KiB that the driver takes, of 228
  EXPECT_EQ(cudaFuncGetAttributes(&attributes, &attributes), cudaErrorInvalidDeviceFunction);
}

TEST_F(KernelTest, EveryLaunchIsCountedWithItsBytes) {
  float *const x = upload(std::vector<float>(kCount, 1.0f)), *const y = upload(std::vector<float>(kCount, 1.0f));
  reset_counters();
  launch_saxpy(kCount, 2.0f, x, y, nullptr);
  launch_saxpy(kCount, 2.0f, x, y, nullptr);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const Counts counts = counters();
  ASSERT_EQ(counts.kernels.size(), 1u);
  const auto& [name, kernel] = *counts.kernels.begin();
  EXPECT_NE(name.find("saxpy"), std::string::npos);
  EXPECT_EQ(kernel.launches, 2u);
  EXPECT_EQ(kernel.bytes_read, 2 * 2 * kBytes);
  EXPECT_EQ(kernel.bytes_written, 2 * kBytes);
  EXPECT_EQ(kernel.bytes_loaded, 2 * 2 * kBytes);
  EXPECT_EQ(kernel.bytes_stored, 2 * kBytes);
  EXPECT_GT(kernel.instructions, 0u);
  EXPECT_GE(kernel_executions().at(name), 2u);
}

}  // namespace
}  // namespace triptych::emulator
