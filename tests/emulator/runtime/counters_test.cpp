#include "emulator/runtime/counters.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <cuda_profiler_api.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kBytes = 4096;

class CountersTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    device_ = device(kBytes / 4);
    host_ = pinned(kBytes / 4);
    stream_ = make_stream();
    event_ = make_event();
    reset_counters();
  }
  void upload_async() {
    ASSERT_EQ(cudaMemcpyAsync(device_, host_, kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  }
  float *device_ = nullptr, *host_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

TEST_F(CountersTest, SynchronisationsAreToldFromWaitsForWhatIsLongQueued) {
  upload_async();
  ASSERT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
  upload_async();  // newer work, which the wait leaves queued
  ASSERT_EQ(cudaEventSynchronize(event_), cudaSuccess);
  EXPECT_EQ(counters().drains, 0u);
  EXPECT_EQ(counters().event_waits, 1u);
  ASSERT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(event_), cudaSuccess);  // nothing is newer
  EXPECT_EQ(counters().drains, 1u);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(counters().drains, 3u);
  ASSERT_EQ(cudaMemcpy(host_, device_, kBytes, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(counters().drains, 4u);
  cudaEventQuery(event_);
  cudaStreamQuery(stream_);
  EXPECT_EQ(counters().drains, 4u);
  EXPECT_EQ(counters().event_waits, 1u);
}

TEST_F(CountersTest, CopiesFromOrdinaryMemoryAreNoted) {
  std::vector<std::byte> ordinary(kBytes);
  ASSERT_EQ(cudaMemcpyAsync(device_, ordinary.data(), kBytes, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  EXPECT_EQ(counters().staged_copies, 1u);
  EXPECT_EQ(counters().drains, 0u);
  ASSERT_EQ(cudaMemcpyAsync(ordinary.data(), device_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(counters().drains, 1u);
}

TEST_F(CountersTest, CopiesAndAllocationsByKind) {
  upload_async();
  ASSERT_EQ(cudaMemsetAsync(device_, 0, 100, stream_), cudaSuccess);
  void* pool = nullptr;
  ASSERT_EQ(cudaMallocAsync(&pool, 300, stream_), cudaSuccess);
  count_nccl("tp", "all_reduce", 24);
  count_nccl("dp", "all_reduce", 8);
  const Counts counts = counters();
  EXPECT_EQ(counts.copies.at("host to device").calls, 1u);
  EXPECT_EQ(counts.copies.at("host to device").bytes, kBytes);
  EXPECT_EQ(counts.copies.at("memset").bytes, 100u);
  EXPECT_EQ(counts.allocations.at("cudaMallocAsync").bytes, 300u);
  EXPECT_EQ(counts.nccl.at("all_reduce").calls, 2u);
  EXPECT_EQ(counts.nccl.at("all_reduce").bytes, 32u);
  ASSERT_EQ(counts.nccl_order.size(), 2u);
  EXPECT_EQ(counts.nccl_order[1], std::pair(std::string("dp"), std::string("all_reduce")));
}

// In a child, since the file is written when a process ends, and the first window of a process begins only once.
TEST_F(CountersTest, TheWindowBetweenStartAndStopIsWrittenToAFile) {
  const std::string stem = ::testing::TempDir() + "emulator_counters_" + std::to_string(::getpid());
  const std::string pattern = stem + "_%r.json", name = stem + "_3.json";
  std::filesystem::remove(name);
  EXPECT_EXIT(
      {
        setenv("TRIPTYCH_EMULATOR_COUNTERS", pattern.c_str(), 1);
        setenv("OMPI_COMM_WORLD_RANK", "3", 1);
        upload_async();
        cudaProfilerStart();
        upload_async();
        upload_async();
        cudaProfilerStop();
        cudaStreamSynchronize(stream_);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "");
  std::ifstream file(name);
  const auto all = nlohmann::json::parse(file);
  EXPECT_EQ(all["counted"]["copies"]["host to device"]["calls"], 2);
  EXPECT_EQ(all["counted"]["host_synchronisations"]["drains"], 0);
  EXPECT_TRUE(all.contains("kernel_executions"));
  EXPECT_TRUE(all.contains("opcode_executions"));
  std::filesystem::remove(name);
}

}  // namespace
}  // namespace triptych::emulator
