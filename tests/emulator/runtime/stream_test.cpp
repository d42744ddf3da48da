#include <chrono>
#include <numeric>
#include <thread>

#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kCount = 1000;
constexpr std::size_t kBytes = kCount * sizeof(float);

class StreamTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    prepare();
  }
  void prepare() {
    values_.resize(kCount);
    std::iota(values_.begin(), values_.end(), 1.0f);
    source_ = upload(values_);
    between_ = device(kCount);
    target_ = device(kCount);
    writer_ = make_stream();
    reader_ = make_stream();
    written_ = make_event();
  }
  void write(void* to) { ASSERT_EQ(cudaMemcpyAsync(to, source_, kBytes, cudaMemcpyDefault, writer_), cudaSuccess); }
  void read(const void* from) {
    ASSERT_EQ(cudaMemcpyAsync(target_, from, kBytes, cudaMemcpyDefault, reader_), cudaSuccess);
  }

  std::vector<float> values_;
  float *source_ = nullptr, *between_ = nullptr, *target_ = nullptr;
  cudaStream_t writer_ = nullptr, reader_ = nullptr;
  cudaEvent_t written_ = nullptr;
};

TEST_F(StreamTest, NothingRunsBeforeItIsDemanded) {
  write(between_);
  EXPECT_EQ(cudaStreamQuery(writer_), cudaErrorNotReady);
  EXPECT_FALSE(runtime().heap(0).memory().initialised(reinterpret_cast<uint64_t>(between_), kBytes));
  EXPECT_EQ(cudaStreamSynchronize(writer_), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(writer_), cudaSuccess);
  EXPECT_EQ(download(between_, kCount), values_);
}

TEST_F(StreamTest, ASynchronisationRunsOnlyWhatItNeeds) {
  write(between_);
  ASSERT_EQ(cudaMemsetAsync(target_, 0, kBytes, reader_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(writer_), cudaErrorNotReady);
}

TEST_F(StreamTest, DemandFollowsEventsThroughStreams) {
  for (const StreamMode mode :
       {StreamMode::deferred, StreamMode::eager, StreamMode::random, StreamMode::others_first}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      start_mode(mode, seed);
      prepare();
      write(between_);
      ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
      ASSERT_EQ(cudaStreamWaitEvent(reader_, written_), cudaSuccess);
      read(between_);
      ASSERT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
      EXPECT_EQ(download(target_, kCount), values_);
    }
  }
}

TEST_F(StreamTest, AMissingWaitIsAStreamRaceInEveryMode) {
  for (const StreamMode mode :
       {StreamMode::deferred, StreamMode::eager, StreamMode::random, StreamMode::others_first}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      start_mode(mode, seed);
      prepare();
      const std::string message = violation("stream-race", [&] {
        write(between_);
        ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
        read(between_);  // without the wait
        cudaDeviceSynchronize();
      });
      EXPECT_NE(message.find("copy device to device of 4000 bytes on stream"), std::string::npos) << message;
    }
  }
}

// Memory that is used again holds old values: no poison gives the race away, only the clocks.
TEST_F(StreamTest, AMissingWaitReadsTheOldValuesAndIsReportedAllTheSame) {
  ASSERT_EQ(cudaMemset(between_, 0, kBytes), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  write(between_);
  read(between_);
  ASSERT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);  // the writer has not run
  violation("stream-race", [&] { cudaStreamSynchronize(writer_); });
}

TEST_F(StreamTest, AWaitThatIsRecordedTooEarlyOrdersNothing) {
  ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
  write(between_);
  ASSERT_EQ(cudaStreamWaitEvent(reader_, written_), cudaSuccess);
  read(between_);
  violation("stream-race", [&] { cudaDeviceSynchronize(); });
}

TEST_F(StreamTest, AWaitForAnEventThatWasNeverRecordedIsReported) {
  violation("bad-argument", [&] { cudaStreamWaitEvent(reader_, written_); });
}

TEST_F(StreamTest, WritingOverWhatAnotherStreamReadsIsAStreamRace) {
  ASSERT_EQ(cudaMemset(between_, 0, kBytes), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  read(between_);
  ASSERT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
  write(between_);  // the host has waited for the reader: ordered
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  read(between_);
  write(between_);
  violation("stream-race", [&] { cudaDeviceSynchronize(); });
}

TEST_F(StreamTest, RangesThatDoNotOverlapDoNotRace) {
  ASSERT_EQ(cudaMemsetAsync(between_, 0, 400, writer_), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(between_ + 100, 0, 400, reader_), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(between_ + 50, 0, 201, writer_), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(between_ + 100, 0, 400, reader_), cudaSuccess);
  const std::string message = violation("stream-race", [&] { cudaDeviceSynchronize(); });
  EXPECT_NE(message.find("bytes 400 to 401 of cudaMalloc number"), std::string::npos) << message;
}

TEST_F(StreamTest, AnEventThatTheHostHasSeenOrdersWhatItQueuesNext) {
  write(between_);
  ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(written_), cudaSuccess);
  read(between_);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(StreamTest, TheNullStreamWaitsForBlockingStreamsAndTheyForIt) {
  cudaStream_t blocking = make_stream(cudaStreamDefault), other = make_stream(cudaStreamDefault);
  ASSERT_EQ(cudaMemcpyAsync(between_, source_, kBytes, cudaMemcpyDefault, blocking), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(target_, between_, kBytes, cudaMemcpyDefault, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(between_, target_, kBytes, cudaMemcpyDefault, other), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  EXPECT_EQ(download(target_, kCount), values_);
}

TEST_F(StreamTest, TheNullStreamDoesNotWaitForNonBlockingStreams) {
  write(between_);
  ASSERT_EQ(cudaMemcpyAsync(target_, between_, kBytes, cudaMemcpyDefault, nullptr), cudaSuccess);
  violation("stream-race", [&] { cudaDeviceSynchronize(); });
}

TEST_F(StreamTest, EventsMeasureTime) {
  cudaEvent_t first = make_event(cudaEventDefault), last = make_event(cudaEventDefault);
  float elapsed_ms = -1.0f;
  EXPECT_EQ(cudaEventElapsedTime(&elapsed_ms, first, last), cudaErrorInvalidResourceHandle);
  ASSERT_EQ(cudaEventRecord(first, writer_), cudaSuccess);
  write(between_);
  ASSERT_EQ(cudaEventRecord(last, writer_), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&elapsed_ms, first, last), cudaErrorNotReady);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  ASSERT_EQ(cudaEventSynchronize(last), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&elapsed_ms, first, last), cudaSuccess);
  EXPECT_GE(elapsed_ms, 2.0f);
  ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&elapsed_ms, first, written_), cudaErrorInvalidResourceHandle);
}

TEST_F(StreamTest, DestroyedAndInventedHandlesAreRefused) {
  EXPECT_EQ(cudaStreamDestroy(writer_), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(writer_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamSynchronize(writer_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaMemsetAsync(between_, 0, 4, reinterpret_cast<cudaStream_t>(written_)), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(written_), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(written_, reader_), cudaErrorInvalidResourceHandle);
}

TEST_F(StreamTest, ADestroyedStreamStillDoesItsWork) {
  write(between_);
  ASSERT_EQ(cudaStreamDestroy(writer_), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(download(between_, kCount), values_);
}

TEST_F(StreamTest, HostFunctionsRunInOrderAndMayNotCallCuda) {
  struct Seen {
    cudaStream_t stream;
    int calls = 0;
    cudaError_t error = cudaSuccess;
  } seen{writer_};
  const auto function = [](void* argument) {
    auto& is = *static_cast<Seen*>(argument);
    ++is.calls;
    is.error = cudaStreamQuery(is.stream);
  };
  ASSERT_EQ(cudaLaunchHostFunc(writer_, function, &seen), cudaSuccess);
  EXPECT_EQ(seen.calls, 0);
  ASSERT_EQ(cudaStreamSynchronize(writer_), cudaSuccess);
  EXPECT_EQ(seen.calls, 1);
  EXPECT_EQ(seen.error, cudaErrorNotPermitted);
}

TEST_F(StreamTest, TheSeedChoosesTheOrderAndAlwaysTheSameOne) {
  const auto order_with = [&](uint64_t seed) {
    start_mode(StreamMode::random, seed);
    std::vector<int> order;
    struct Entry {
      std::vector<int>* order;
      int stream;
    };
    std::vector<Entry> entries;
    for (int i = 0; i < 6; ++i) entries.push_back({&order, i});
    for (Entry& entry : entries) {
      const auto function = [](void* argument) {
        auto& is = *static_cast<Entry*>(argument);
        is.order->push_back(is.stream);
      };
      EXPECT_EQ(cudaLaunchHostFunc(make_stream(), function, &entry), cudaSuccess);
    }
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return order;
  };
  EXPECT_EQ(order_with(1), order_with(1));
  EXPECT_EQ(order_with(7), order_with(7));
  EXPECT_NE(order_with(1), order_with(7));
}

TEST_F(StreamTest, OthersFirstRunsWhatNobodyAskedForBeforeWhatWasAsked) {
  start_mode(StreamMode::others_first);
  prepare();
  ASSERT_EQ(cudaMemsetAsync(between_, 0, kBytes, writer_), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(target_, 0, kBytes, reader_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(writer_), cudaSuccess);
}

TEST_F(StreamTest, TheWorkerMovesOnWhatIsOnlyAskedFor) {
  start([](Options& options) { options.streams.worker = true; });
  prepare();
  write(between_);
  ASSERT_EQ(cudaEventRecord(written_, writer_), cudaSuccess);
  while (cudaEventQuery(written_) == cudaErrorNotReady) std::this_thread::yield();
  read(between_);  // the host has seen the event
  while (cudaStreamQuery(reader_) == cudaErrorNotReady) std::this_thread::yield();
  EXPECT_EQ(download(target_, kCount), values_);
}

/// Waits for another thread, as a collective waits for another process.
class MeetingWork : public Work {
 public:
  explicit MeetingWork(std::atomic<int>& arrived) : arrived_(arrived) {}
  std::string name() const override { return "meeting"; }
  bool advance() override {
    if (!std::exchange(has_arrived_, true)) ++arrived_;
    return arrived_ == 2;
  }
  std::vector<Access> accesses() const override { return {}; }

 private:
  std::atomic<int>& arrived_;
  bool has_arrived_ = false;
};

TEST_F(StreamTest, WorksThatWaitForEachOtherDoNotHoldTheLock) {
  std::atomic<int> arrived = 0;
  enqueue(writer_, std::make_unique<MeetingWork>(arrived));
  enqueue(reader_, std::make_unique<MeetingWork>(arrived));
  std::thread other([&] { EXPECT_EQ(cudaStreamSynchronize(writer_), cudaSuccess); });
  EXPECT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
  other.join();
}

TEST_F(StreamTest, TheWorkerBringsTheOtherHalfOfAMeeting) {
  start([](Options& options) { options.streams.worker = true; });
  prepare();
  std::atomic<int> arrived = 0;
  enqueue(writer_, std::make_unique<MeetingWork>(arrived));
  enqueue(reader_, std::make_unique<MeetingWork>(arrived));
  EXPECT_EQ(cudaStreamSynchronize(reader_), cudaSuccess);
}

TEST_F(StreamTest, SeveralThreadsUseTheRuntimeAtOnce) {
  for (const StreamMode mode :
       {StreamMode::deferred, StreamMode::eager, StreamMode::random, StreamMode::others_first}) {
    start([&](Options& options) {
      options.streams.worker = true;
      options.streams.mode = mode;
    });
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([thread] {
        ASSERT_EQ(cudaSetDevice(thread % 2), cudaSuccess);
        cudaStream_t first = make_stream(), second = make_stream();
        cudaEvent_t event = make_event();
        float *const host = pinned(kCount), *const back = pinned(kCount);
        for (int i = 0; i < 50; ++i) {
          std::fill_n(host, kCount, static_cast<float>(thread * 100 + i));
          void *a = nullptr, *b = nullptr;
          ASSERT_EQ(cudaMallocAsync(&a, kBytes, first), cudaSuccess);
          ASSERT_EQ(cudaMemcpyAsync(a, host, kBytes, cudaMemcpyDefault, first), cudaSuccess);
          ASSERT_EQ(cudaEventRecord(event, first), cudaSuccess);
          ASSERT_EQ(cudaStreamWaitEvent(second, event), cudaSuccess);
          ASSERT_EQ(cudaMallocAsync(&b, kBytes, second), cudaSuccess);
          ASSERT_EQ(cudaMemcpyAsync(b, a, kBytes, cudaMemcpyDefault, second), cudaSuccess);
          ASSERT_EQ(cudaFreeAsync(a, second), cudaSuccess);
          ASSERT_EQ(cudaMemcpyAsync(back, b, kBytes, cudaMemcpyDefault, second), cudaSuccess);
          ASSERT_EQ(cudaFreeAsync(b, second), cudaSuccess);
          ASSERT_EQ(cudaEventRecord(event, second), cudaSuccess);
          if (i % 2 == 0) {
            ASSERT_EQ(cudaEventSynchronize(event), cudaSuccess);
          }
          while (cudaEventQuery(event) == cudaErrorNotReady) std::this_thread::yield();
          ASSERT_EQ(back[kCount - 1], static_cast<float>(thread * 100 + i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(StreamTest, AViolationInTheBackgroundComesOutAtTheNextCall) {
  start([](Options& options) { options.streams.worker = true; });
  prepare();
  violation("uninitialised-read", [&] {
    float* const host = pinned(kCount);
    ASSERT_EQ(cudaMemcpyAsync(host, between_, kBytes, cudaMemcpyDeviceToHost, writer_), cudaSuccess);
    while (true) cudaStreamQuery(writer_);
  });
}

}  // namespace
}  // namespace triptych::emulator
