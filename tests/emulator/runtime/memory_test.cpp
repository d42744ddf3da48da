#include <numeric>

#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kCount = 512;
constexpr std::size_t kBytes = kCount * sizeof(float);

class MemoryTest : public EmulatorTest {
 protected:
  float* pool(cudaStream_t stream, std::size_t bytes = kBytes) {
    void* pointer = nullptr;
    EXPECT_EQ(cudaMallocAsync(&pointer, bytes, stream), cudaSuccess);
    return static_cast<float*>(pointer);
  }
  static uint64_t attribute(cudaMemPoolAttr attribute) {
    cudaMemPool_t pool = nullptr;
    uint64_t value = 0;
    EXPECT_EQ(cudaDeviceGetDefaultMemPool(&pool, 0), cudaSuccess);
    EXPECT_EQ(cudaMemPoolGetAttribute(pool, attribute, &value), cudaSuccess);
    return value;
  }
};

TEST_F(MemoryTest, OutOfMemoryIsAnErrorAndLeavesTheDeviceAsItWas) {
  std::size_t free_before = 0, total = 0, free_after = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_before, &total), cudaSuccess);
  EXPECT_EQ(total, std::size_t{64} << 20);
  void* pointer = &total;
  EXPECT_EQ(cudaMalloc(&pointer, total + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocAsync(&pointer, total + 1, make_stream()), cudaErrorMemoryAllocation);
  void* most = nullptr;
  ASSERT_EQ(cudaMalloc(&most, total), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&pointer, 1), cudaErrorMemoryAllocation);
  ASSERT_EQ(cudaFree(most), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&free_after, &total), cudaSuccess);
  EXPECT_EQ(free_after, free_before);
}

TEST_F(MemoryTest, WhatIsFreedInStreamOrderCanBeAllocatedAgainWithoutWaiting) {
  start([](Options& options) { options.memory_bytes = 4 << 20; });
  cudaStream_t stream = make_stream();
  for (int i = 0; i < 30; ++i) {  // 90 MB in all, of 4
    float* const pointer = pool(stream, 3 << 20);
    ASSERT_EQ(cudaMemsetAsync(pointer, 0, 64, stream), cudaSuccess);
    ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
  }
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
}

TEST_F(MemoryTest, MemoryThatAnotherStreamCouldTouchComesBackOnceThatHasRun) {
  start([](Options& options) { options.memory_bytes = 4 << 20; });
  float* const unrelated = device(kCount);
  cudaStream_t stream = make_stream(), other = make_stream();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(cudaMemsetAsync(unrelated, 0, kBytes, other), cudaSuccess);
    ASSERT_EQ(cudaFreeAsync(pool(stream, 3 << 20), stream), cudaSuccess);
  }
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(MemoryTest, ThePoolSaysWhatIsUsedAndHeld) {
  cudaStream_t stream = make_stream();
  cudaMemPool_t handle = nullptr;
  ASSERT_EQ(cudaDeviceGetDefaultMemPool(&handle, 0), cudaSuccess);
  float* const first = pool(stream, 1 << 20);
  float* const second = pool(stream, 2 << 20);
  EXPECT_EQ(attribute(cudaMemPoolAttrUsedMemCurrent), 3u << 20);
  ASSERT_EQ(cudaFreeAsync(first, stream), cudaSuccess);
  EXPECT_EQ(attribute(cudaMemPoolAttrUsedMemCurrent), 2u << 20);
  EXPECT_EQ(attribute(cudaMemPoolAttrUsedMemHigh), 3u << 20);
  EXPECT_EQ(attribute(cudaMemPoolAttrReservedMemCurrent), 3u << 20);
  uint64_t threshold = ~uint64_t{0};
  ASSERT_EQ(cudaMemPoolSetAttribute(handle, cudaMemPoolAttrReleaseThreshold, &threshold), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(attribute(cudaMemPoolAttrReservedMemCurrent), 3u << 20);  // below the threshold: kept
  ASSERT_EQ(cudaMemPoolTrimTo(handle, 0), cudaSuccess);
  EXPECT_EQ(attribute(cudaMemPoolAttrReservedMemCurrent), 2u << 20);
  uint64_t zero = 0;
  ASSERT_EQ(cudaMemPoolSetAttribute(handle, cudaMemPoolAttrUsedMemHigh, &zero), cudaSuccess);
  EXPECT_EQ(attribute(cudaMemPoolAttrUsedMemHigh), 2u << 20);
  ASSERT_EQ(cudaMemPoolSetAttribute(handle, cudaMemPoolAttrReleaseThreshold, &zero), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(second, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(attribute(cudaMemPoolAttrReservedMemCurrent), 0u);
}

TEST_F(MemoryTest, FreshMemoryIsNotInitialised) {
  float* const pointer = device(kCount);
  std::vector<float> host(kCount);
  violation("uninitialised-read", [&] { cudaMemcpy(host.data(), pointer, kBytes, cudaMemcpyDeviceToHost); });
}

TEST_F(MemoryTest, ACopyOverTheEndIsOutOfBounds) {
  float* const pointer = device(kCount);
  std::vector<float> host(kCount + 1);
  violation("out-of-bounds", [&] { cudaMemcpy(pointer, host.data(), kBytes + 4, cudaMemcpyHostToDevice); });
}

TEST_F(MemoryTest, UseAfterFree) {
  cudaStream_t stream = make_stream();
  float* const pointer = pool(stream);
  ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, stream), cudaSuccess);
  violation("use-after-free", [&] { cudaStreamSynchronize(stream); });
}

TEST_F(MemoryTest, UseAfterFreeIsFoundWhileOtherWorkKeepsTheMemoryAlive) {
  cudaStream_t stream = make_stream(), other = make_stream();
  float* const pointer = pool(stream);
  float* const unrelated = device(kCount);
  ASSERT_EQ(cudaMemsetAsync(unrelated, 0, kBytes, other), cudaSuccess);  // queued, and ordered with nothing
  ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, stream), cudaSuccess);
  violation("use-after-free", [&] { cudaStreamSynchronize(stream); });
}

TEST_F(MemoryTest, DoubleFree) {
  cudaStream_t stream = make_stream();
  float* const pointer = pool(stream);
  ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
  violation("double-free", [&] { cudaFreeAsync(pointer, stream); });
  float* const other = device(kCount);
  ASSERT_EQ(cudaFree(other), cudaSuccess);
  violation("double-free", [&] { cudaFree(other); });
  violation("bad-argument", [&] { cudaFree(device(kCount) + 1); });
}

TEST_F(MemoryTest, AFreeThatIsNotOrderedAfterAUseIsReportedWhicheverRunsFirst) {
  for (const bool free_first : {false, true}) {
    start({});
    cudaStream_t stream = make_stream(), other = make_stream();
    float* const pointer = pool(stream);
    cudaEvent_t allocated = make_event();
    ASSERT_EQ(cudaEventRecord(allocated, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamWaitEvent(other, allocated), cudaSuccess);
    ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, other), cudaSuccess);
    ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
    const std::string message = violation("freed-while-in-use", [&] {
      ASSERT_EQ(cudaStreamSynchronize(free_first ? stream : other), cudaSuccess);
      cudaDeviceSynchronize();
    });
    EXPECT_NE(message.find("memset of 2048 bytes on stream"), std::string::npos) << message;
    EXPECT_NE(message.find("cudaFreeAsync on stream"), std::string::npos) << message;
  }
}

TEST_F(MemoryTest, AFreeThatWaitsForTheUseIsFine) {
  cudaStream_t stream = make_stream(), other = make_stream();
  float* const pointer = pool(stream);
  cudaEvent_t event = make_event();
  ASSERT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(other, event), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, other), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, other), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(stream, event), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(pointer, stream), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(MemoryTest, UseThatIsNotOrderedAfterTheAllocationIsReported) {
  cudaStream_t stream = make_stream(), other = make_stream();
  float* const pointer = pool(stream);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, other), cudaSuccess);
  const std::string message = violation("freed-while-in-use", [&] { cudaStreamSynchronize(other); });
  EXPECT_NE(message.find("after cudaMallocAsync of 2048 bytes on stream"), std::string::npos) << message;
}

TEST_F(MemoryTest, TheHostMayFreePoolMemoryOnceItHasWaited) {
  cudaStream_t stream = make_stream();
  float* pointer = pool(stream);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaFree(pointer), cudaSuccess);
  pointer = pool(stream);
  ASSERT_EQ(cudaMemsetAsync(pointer, 0, kBytes, stream), cudaSuccess);
  violation("freed-while-in-use", [&] {
    cudaFree(pointer);
    cudaStreamSynchronize(stream);
  });
}

TEST_F(MemoryTest, CopiesInRows) {
  std::vector<float> host(6 * 5);
  std::iota(host.begin(), host.end(), 0.0f);
  float* const wide = device(6 * 8);
  ASSERT_EQ(cudaMemset(wide, 0, 6 * 8 * 4), cudaSuccess);
  ASSERT_EQ(cudaMemcpy2DAsync(wide, 8 * 4, host.data(), 5 * 4, 5 * 4, 6, cudaMemcpyHostToDevice, nullptr), cudaSuccess);
  const std::vector<float> result = download(wide, 6 * 8);
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t j = 0; j < 8; ++j) EXPECT_EQ(result[i * 8 + j], j < 5 ? host[i * 5 + j] : 0.0f);
  EXPECT_EQ(cudaMemcpy2DAsync(wide, 4 * 4, host.data(), 5 * 4, 5 * 4, 6, cudaMemcpyHostToDevice, nullptr),
            cudaErrorInvalidPitchValue);
}

TEST_F(MemoryTest, TheDirectionOfACopyMustBeThatOfItsAddresses) {
  float* const pointer = device(kCount);
  std::vector<float> host(kCount);
  violation("bad-argument", [&] { cudaMemcpy(pointer, host.data(), kBytes, cudaMemcpyDeviceToDevice); });
}

TEST_F(MemoryTest, PointersSayWhereTheyLie) {
  cudaPointerAttributes attributes{};
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, device(4) + 1), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, pinned(4) + 1), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, &attributes), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
}

}  // namespace
}  // namespace triptych::emulator
