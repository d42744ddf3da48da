#include <algorithm>
#include <cmath>

#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kCount = 256;
constexpr std::size_t kBytes = kCount * sizeof(float);

class HostMemoryTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    host_ = pinned(kCount);
    std::fill_n(host_, kCount, 3.0f);
    device_ = device(kCount);
    stream_ = make_stream();
  }
  float *host_ = nullptr, *device_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

TEST_F(HostMemoryTest, TheSourceOfAQueuedCopyMustStayAsItIs) {
  ASSERT_EQ(cudaMemcpyAsync(device_, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  host_[kCount - 1] = 4.0f;
  violation("pinned-reused-early", [&] { cudaStreamSynchronize(stream_); });
}

TEST_F(HostMemoryTest, TheSourceIsFreeOnceTheCopyIsDone) {
  ASSERT_EQ(cudaMemcpyAsync(device_, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  host_[0] = 4.0f;
  ASSERT_EQ(cudaMemcpyAsync(device_, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(download(device_, 1), std::vector<float>{4.0f});
}

TEST_F(HostMemoryTest, TheTargetHoldsPoisonUntilTheCopyHasRun) {
  ASSERT_EQ(cudaMemsetAsync(device_, 0, kBytes, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host_, device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_TRUE(std::isnan(host_[0]));
  EXPECT_TRUE(std::isnan(host_[kCount - 1]));
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(host_[0], 0.0f);
}

TEST_F(HostMemoryTest, TheTargetMayNotBeWrittenBeforeTheCopyHasRun) {
  ASSERT_EQ(cudaMemsetAsync(device_, 0, kBytes, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host_, device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  host_[1] = 1.0f;
  violation("pinned-reused-early", [&] { cudaStreamSynchronize(stream_); });
}

TEST_F(HostMemoryTest, CopiesThroughOneBufferInStreamOrderAreFine) {
  float* const other = device(kCount);
  ASSERT_EQ(cudaMemsetAsync(device_, 0, kBytes, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host_, device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(other, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host_, device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(download(other, 1), std::vector<float>{0.0f});
}

TEST_F(HostMemoryTest, TwoStreamsRaceInHostMemoryToo) {
  cudaStream_t other = make_stream();
  float* const target = device(kCount);
  ASSERT_EQ(cudaMemset(device_, 0, kBytes), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host_, device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(target, host_, kBytes, cudaMemcpyHostToDevice, other), cudaSuccess);
  const std::string message = violation("stream-race", [&] { cudaDeviceSynchronize(); });
  EXPECT_NE(message.find("page-locked"), std::string::npos) << message;
}

TEST_F(HostMemoryTest, ItMayNotBeFreedUnderAQueuedCopy) {
  ASSERT_EQ(cudaMemcpyAsync(device_, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  violation("freed-while-in-use", [&] {
    cudaFreeHost(host_);
    cudaStreamSynchronize(stream_);
  });
  float* const other = pinned(kCount);
  ASSERT_EQ(cudaMemcpyAsync(device_, other, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(other), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(other), cudaErrorInvalidValue);
}

// So that the error that unwinds the program is what people see.
TEST_F(HostMemoryTest, WhileAnExceptionUnwindsItMay) {
  struct Buffer {
    float* data;
    ~Buffer() { EXPECT_EQ(cudaFreeHost(data), cudaSuccess); }
  };
  EXPECT_THROW(
      {
        const Buffer buffer{host_};
        EXPECT_EQ(cudaMemcpyAsync(device_, buffer.data, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
        throw std::runtime_error("out of memory");
      },
      std::runtime_error);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
}

TEST_F(HostMemoryTest, ACopyMayNotGoOverItsEnd) {
  float* const larger = device(kCount + 1);
  violation("out-of-bounds", [&] { cudaMemcpyAsync(larger, host_ + 1, kBytes, cudaMemcpyHostToDevice, stream_); });
}

// From ordinary memory the driver makes a copy of its own before the call returns.
TEST_F(HostMemoryTest, OrdinaryMemoryIsStaged) {
  std::vector<float> ordinary(kCount, 5.0f);
  ASSERT_EQ(cudaMemcpyAsync(device_, ordinary.data(), kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  std::fill(ordinary.begin(), ordinary.end(), 6.0f);
  ASSERT_EQ(cudaMemcpyAsync(ordinary.data(), device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(ordinary[kCount - 1], 5.0f);  // and the other way the call waits
}

TEST_F(HostMemoryTest, RegisteredMemoryIsPageLocked) {
  std::vector<float> ordinary(kCount, 5.0f);
  ASSERT_EQ(cudaHostRegister(ordinary.data(), kBytes, cudaHostRegisterDefault), cudaSuccess);
  EXPECT_EQ(cudaHostRegister(ordinary.data(), kBytes, cudaHostRegisterDefault), cudaErrorHostMemoryAlreadyRegistered);
  ASSERT_EQ(cudaMemcpyAsync(device_, ordinary.data(), kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ordinary[0] = 6.0f;
  violation("pinned-reused-early", [&] { cudaStreamSynchronize(stream_); });
  EXPECT_EQ(cudaHostUnregister(ordinary.data()), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(ordinary.data()), cudaErrorHostMemoryNotRegistered);
}

}  // namespace
}  // namespace triptych::emulator
