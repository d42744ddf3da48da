// What nobody has waited for when a process ends.

#include <csignal>

#include "emulator/nccl/rank_processes.h"
#include "emulator/runtime/test_kernels.h"

namespace triptych::emulator {
namespace {

constexpr int kViolation = 86, kCount = 100;

// Nothing but the end of the process runs what is queued.
RankOptions quiet(const std::string& streams = "deferred") {
  return {.environment = {{"TRIPTYCH_EMULATOR_WORKER", "0"}, {"TRIPTYCH_EMULATOR_STREAMS", streams}}};
}

// Queues a kernel that writes to `count` of kCount elements.
void queue_kernel(int count, bool destroys_stream) {
  cudaStream_t stream = nullptr;
  void* data = nullptr;
  TRIPTYCH_EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  TRIPTYCH_EXPECT_CUDA(cudaMalloc(&data, kCount * sizeof(float)));
  launch_fill(static_cast<float*>(data), count, 1.0F, 64, stream);
  if (destroys_stream) {
    TRIPTYCH_EXPECT_CUDA(cudaStreamDestroy(stream));
  }
}

TEST(EndOfProcess, RunsWhatIsQueued) {
  std::vector<RankResult> sound, faulty;  // all are run before any is looked at: their processes come by here as well
  for (const char* streams : {"deferred", "random", "others-first"}) {
    for (const bool destroys_stream : {false, true}) {
      const auto run = [&](int count) {
        return run_processes(
            1, [&](int, const ncclUniqueId&) { queue_kernel(count, destroys_stream); }, quiet(streams))[0];
      };
      sound.push_back(run(kCount));
      faulty.push_back(run(kCount + 1));
    }
  }
  for (const RankResult& result : sound) EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const RankResult& result : faulty) {
    EXPECT_EQ(result.exit_code, kViolation);
    EXPECT_NE(result.output.find("emulator: [out-of-bounds]"), std::string::npos) << result.output;
  }
}

TEST(EndOfProcess, GivesUpWhatIsQueuedWhereTheProgramFails) {
  const RankResult failed = run_processes(
      1,
      [](int, const ncclUniqueId&) {
        queue_kernel(kCount + 1, false);
        std::exit(3);
      },
      quiet())[0];
  EXPECT_EQ(failed.exit_code, 3);
  EXPECT_EQ(failed.output.find("emulator:"), std::string::npos) << failed.output;
}

// A rank with a connected communicator that it never frees, on which it then queues something.
void queue_collective(int rank, const ncclUniqueId& id, const std::function<void(const Member&, float*)>& queue) {
  Member& me = *std::make_unique<Member>(rank, 2, id).release();
  void* data = nullptr;
  TRIPTYCH_EXPECT_CUDA(cudaMalloc(&data, kCount * sizeof(float)));
  TRIPTYCH_EXPECT_CUDA(cudaMemsetAsync(data, 0, kCount * sizeof(float), me.stream));
  TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data, data, kCount, ncclFloat32, ncclSum, me.comm, me.stream));
  me.synchronize();
  queue(me, static_cast<float*>(data));
}

TEST(EndOfProcess, RunsCollectivesOfAllRanks) {
  const auto run = [](std::size_t count) {
    return run_processes(
        2,
        [count](int rank, const ncclUniqueId& id) {
          queue_collective(rank, id, [count](const Member& me, float* data) {
            TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data, data, count, ncclFloat32, ncclSum, me.comm, me.stream));
          });
        },
        quiet());
  };
  const std::vector<RankResult> sound = run(kCount), faulty = run(kCount + 1);
  for (const RankResult& result : sound) EXPECT_EQ(result.exit_code, 0) << result.output;
  const std::string output = all_output(faulty);
  EXPECT_NE(output.find("emulator: [out-of-bounds] [ncclAllReduce"), std::string::npos) << output;
}

// The collective would wait for ever; what does not depend on it still runs.
TEST(EndOfProcess, DoesNotWaitForAProcessThatIsGone) {
  const auto run = [](int count) {
    return run_processes(
        2,
        [count](int rank, const ncclUniqueId& id) {
          queue_collective(rank, id, [count](const Member& me, float* data) {
            if (me.rank == 1) std::raise(SIGKILL);
            TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data, data, kCount, ncclFloat32, ncclSum, me.comm, me.stream));
            queue_kernel(count, false);
          });
        },
        quiet());
  };
  const std::vector<RankResult> sound = run(kCount), faulty = run(kCount + 1);
  EXPECT_EQ(sound[0].exit_code, 0) << sound[0].output;
  EXPECT_EQ(faulty[0].exit_code, kViolation);
  EXPECT_NE(faulty[0].output.find("emulator: [out-of-bounds]"), std::string::npos) << faulty[0].output;
  for (const auto& results : {sound, faulty}) EXPECT_EQ(results[1].exit_code, 128 + SIGKILL);
}

}  // namespace
}  // namespace triptych::emulator
