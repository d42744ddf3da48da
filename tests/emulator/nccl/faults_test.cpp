// What NCCL would answer with a hang, or with wrong numbers: each has its named diagnosis here.

#include <chrono>
#include <filesystem>
#include <thread>

#include "emulator/nccl/call.h"
#include "emulator/nccl/rank_processes.h"

namespace triptych::emulator {
namespace {

using namespace std::chrono_literals;

constexpr int kViolation = 86;

// A process ended with this violation, and what it printed has all of the texts.
void expect_violation(const std::vector<RankResult>& results, const std::string& name,
                      const std::vector<std::string>& texts) {
  bool any = false;
  for (const RankResult& result : results) any = any || result.exit_code == kViolation;
  const std::string output = all_output(results);
  EXPECT_TRUE(any) << output;
  EXPECT_NE(output.find("emulator: [" + name + "]"), std::string::npos) << output;
  for (const std::string& text : texts) EXPECT_NE(output.find(text), std::string::npos) << text << "\n" << output;
}

// A peer of a process that has reported waits for it until the time is over: that is not what these tests are about.
const RankOptions kImpatient{.environment = {{"TRIPTYCH_EMULATOR_NCCL_TIMEOUT_S", "1.5"}}};

TEST(NcclMismatch, OfCounts) {
  expect_violation(
      run_processes(
          2,
          [](int rank, const ncclUniqueId& id) {
            Member me(rank, 2, id);
            const OnDevice<float> data(me, std::vector<float>(8));
            const auto count = static_cast<std::size_t>(3 + rank);
            TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data.data(), data.data(), 1, ncclFloat32, ncclSum, me.comm, me.stream));
            TRIPTYCH_EXPECT_NCCL(
                ncclAllReduce(data.data(), data.data(), count, ncclFloat32, ncclSum, me.comm, me.stream));
            me.synchronize();
          },
          kImpatient),
      "nccl-mismatch",
      {"ncclAllReduce(sum, float32 x 3) as collective number 1", "rank 1 (process ",
       "calls ncclAllReduce(sum, float32 x 4) as"});
}

TEST(NcclMismatch, OfOrder) {
  expect_violation(
      run_processes(
          3,
          [](int rank, const ncclUniqueId& id) {
            Member me(rank, 3, id);
            const OnDevice<float> data(me, std::vector<float>(8)), all(me, 24);
            const auto reduce = [&] {
              TRIPTYCH_EXPECT_NCCL(
                  ncclAllReduce(data.data(), data.data(), 8, ncclFloat32, ncclSum, me.comm, me.stream));
            };
            if (rank != 1) reduce();
            TRIPTYCH_EXPECT_NCCL(ncclAllGather(data.data(), all.data(), 8, ncclFloat32, me.comm, me.stream));
            if (rank == 1) reduce();
            me.synchronize();
          },
          kImpatient),
      "nccl-mismatch", {"ncclAllGather(float32 x 8)", "ncclAllReduce(sum, float32 x 8)"});
}

TEST(NcclMismatch, OfTypeOperationAndRoot) {
  const auto run = [](const std::function<void(Member&, float*)>& call) {
    return run_processes(
        2,
        [&](int rank, const ncclUniqueId& id) {
          Member me(rank, 2, id);
          const OnDevice<float> data(me, std::vector<float>(8));
          call(me, data.data());
          me.synchronize();
        },
        kImpatient);
  };
  expect_violation(run([](Member& me, float* data) {
                     TRIPTYCH_EXPECT_NCCL(
                         ncclBroadcast(data, data, 4, me.rank == 0 ? ncclFloat32 : ncclInt32, 0, me.comm, me.stream));
                   }),
                   "nccl-mismatch", {"float32 x 4", "int32 x 4"});
  expect_violation(run([](Member& me, float* data) {
                     TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data, data, 4, ncclFloat32, me.rank == 0 ? ncclSum : ncclMax,
                                                        me.comm, me.stream));
                   }),
                   "nccl-mismatch", {"(sum, ", "(max, "});
  expect_violation(run([](Member& me, float* data) {
                     TRIPTYCH_EXPECT_NCCL(ncclBroadcast(data, data, 4, ncclFloat32, me.rank, me.comm, me.stream));
                   }),
                   "nccl-mismatch", {"from rank 0", "from rank 1"});
  expect_violation(run([](Member& me, float* data) {
                     if (me.rank == 0) {
                       TRIPTYCH_EXPECT_NCCL(ncclSend(data, 5, ncclFloat32, 1, me.comm, me.stream));
                     } else {
                       TRIPTYCH_EXPECT_NCCL(ncclRecv(data, 7, ncclFloat32, 0, me.comm, me.stream));
                     }
                   }),
                   "nccl-mismatch", {"ncclSend(float32 x 5, to rank 1)", "ncclRecv(float32 x 7, from rank 0)"});
}

TEST(NcclMismatch, OfTheNumberOfRanks) {
  expect_violation(run_processes(
                       2,
                       [](int rank, const ncclUniqueId& id) {
                         ncclComm_t comm = nullptr;
                         ncclCommInitRank(&comm, 2 + rank, id, rank);
                       },
                       kImpatient),
                   "nccl-mismatch", {"ranks"});
}

TEST(NcclTimeout, NamesWhoDoesNotComeAndWhatItDoes) {
  expect_violation(run_processes(
                       3,
                       [](int rank, const ncclUniqueId& id) {
                         Member me(rank, 3, id);
                         const OnDevice<float> data(me, std::vector<float>(8));
                         const auto reduce = [&](std::size_t count) {
                           TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data.data(), data.data(), count, ncclFloat32, ncclSum,
                                                              me.comm, me.stream));
                           me.synchronize();
                         };
                         reduce(8);
                         if (rank == 1) std::this_thread::sleep_for(5s);
                         reduce(7);
                       },
                       kImpatient),
                   "nccl-timeout",
                   {"has waited 1.5 s in ncclAllReduce(sum, float32 x 7)", "rank 1 (process ",
                    "has done ncclAllReduce(sum, float32 x 8)"});
}

TEST(NcclTimeout, OfARankThatNeverJoins) {
  expect_violation(run_processes(
                       2,
                       [](int rank, const ncclUniqueId& id) {
                         if (rank == 1) return;
                         ncclComm_t comm = nullptr;
                         ncclCommInitRank(&comm, 2, id, rank);
                       },
                       kImpatient),
                   "nccl-timeout", {"rank 0 of 2 waits for ranks that do not make it within 1.5 s: 1"});
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    EXPECT_EQ(entry.path().string().find("triptych-nccl"), std::string::npos) << entry.path();
  }
}

// A ring of sends, then of receives: each send waits for a receive that is behind another send.
void run_ring(Member& me, bool grouped) {
  const OnDevice<float> sent(me, std::vector<float>{static_cast<float>(me.rank)}), received(me, 1);
  const int next = (me.rank + 1) % me.size, previous = (me.rank + me.size - 1) % me.size;
  const auto exchange = [&] {
    TRIPTYCH_EXPECT_NCCL(ncclGroupStart());
    TRIPTYCH_EXPECT_NCCL(ncclSend(sent.data(), 1, ncclFloat32, next, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclRecv(received.data(), 1, ncclFloat32, previous, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclGroupEnd());
  };
  exchange();  // also connects the ranks
  if (grouped) {
    exchange();
  } else {
    TRIPTYCH_EXPECT_NCCL(ncclSend(sent.data(), 1, ncclFloat32, next, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclRecv(received.data(), 1, ncclFloat32, previous, me.comm, me.stream));
  }
  EXPECT_EQ(received.host()[0], static_cast<float>(previous));
}

TEST(NcclDeadlock, OfARingWithoutAGroup) {
  on_ranks(3, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 3, id);
    run_ring(me, true);
  });
  expect_violation(run_processes(
                       3,
                       [](int rank, const ncclUniqueId& id) {
                         Member me(rank, 3, id);
                         run_ring(me, false);
                       },
                       kImpatient),
                   "nccl-deadlock",
                   {"is in ncclSend(float32 x 1, to rank 1)", "is in ncclSend(float32 x 1, to rank 2)",
                    "is in ncclSend(float32 x 1, to rank 0)"});
}

// 1F1B with one stream for both directions: the first rank sends activation 1 before it receives gradient 0, the second
// sends gradient 0 before it receives activation 1.
TEST(NcclDeadlock, OfAPipelineWithOneStream) {
  expect_violation(run_processes(
                       2,
                       [](int rank, const ncclUniqueId& id) {
                         Member me(rank, 2, id);
                         const OnDevice<float> data(me, std::vector<float>(1));
                         const auto send = [&] {
                           TRIPTYCH_EXPECT_NCCL(ncclSend(data.data(), 1, ncclFloat32, 1 - rank, me.comm, me.stream));
                         };
                         const auto receive = [&] {
                           TRIPTYCH_EXPECT_NCCL(ncclRecv(data.data(), 1, ncclFloat32, 1 - rank, me.comm, me.stream));
                         };
                         TRIPTYCH_EXPECT_NCCL(ncclGroupStart());
                         send();
                         receive();
                         TRIPTYCH_EXPECT_NCCL(ncclGroupEnd());
                         rank == 0 ? (send(), send(), receive()) : (receive(), send(), receive());
                         me.synchronize();
                       },
                       kImpatient),
                   "nccl-deadlock", {"ncclSend(float32 x 1, to rank 1)", "ncclSend(float32 x 1, to rank 0)"});
}

// A send waits for its first receive in the host, where ranks are connected; if both ranks begin with one, for ever.
TEST(NcclTimeout, OfConnectionsThatWaitForEachOther) {
  expect_violation(run_processes(
                       2,
                       [](int rank, const ncclUniqueId& id) {
                         Member me(rank, 2, id);
                         const OnDevice<float> data(me, std::vector<float>(1));
                         ncclSend(data.data(), 1, ncclFloat32, 1 - rank, me.comm, me.stream);
                         ncclRecv(data.data(), 1, ncclFloat32, 1 - rank, me.comm, me.stream);
                       },
                       kImpatient),
                   "nccl-timeout", {"to be connected for ncclSend(float32 x 1, to rank"});
}

TEST(NcclFaults, AKilledPeerIsNoticedAndTheWorkCanBeAborted) {
  const std::vector<RankResult> results = run_processes(3, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 3, id);
    const OnDevice<float> data(me, std::vector<float>(8));
    const auto reduce = [&] {
      TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data.data(), data.data(), 8, ncclFloat32, ncclSum, me.comm, me.stream));
    };
    reduce();
    me.synchronize();
    if (rank == 2) std::raise(SIGKILL);
    reduce();
    ncclResult_t state = ncclSuccess;
    while (state == ncclSuccess) {
      TRIPTYCH_EXPECT_NCCL(ncclCommGetAsyncError(me.comm, &state));
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(state, ncclRemoteError);
    // Who it was, or that another rank has given up because of it.
    const std::string text = ncclGetLastError(me.comm);
    EXPECT_TRUE(text.find("has died") != std::string::npos || text.find("has aborted") != std::string::npos) << text;
    EXPECT_EQ(cudaStreamQuery(me.stream), cudaErrorNotReady);  // as with a kernel that waits for ever
    TRIPTYCH_EXPECT_NCCL(ncclCommAbort(std::exchange(me.comm, nullptr)));
    me.synchronize();
  });
  EXPECT_EQ(results[0].exit_code, 0) << results[0].output;
  EXPECT_EQ(results[1].exit_code, 0) << results[1].output;
  EXPECT_EQ(results[2].exit_code, 128 + SIGKILL);
}

// NCCL tells the two; the others fail with them.
TEST(NcclFaults, TwoRanksOnOneGpuAreRefused) {
  on_ranks(3, [](int rank, const ncclUniqueId& id) {
    TRIPTYCH_EXPECT_CUDA(cudaSetDevice(rank % 2));
    ncclComm_t comm = nullptr;
    EXPECT_EQ(ncclCommInitRank(&comm, 3, id, rank), ncclInvalidUsage);
    const std::string text = ncclGetLastError(comm);
    for (const char* part : {"Duplicate GPU detected: rank 0 (", "and rank 2 (", "both on CUDA device 0"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
    TRIPTYCH_EXPECT_NCCL(ncclCommAbort(comm));
  });
  on_ranks(2, [](int rank, const ncclUniqueId& id) {
    TRIPTYCH_EXPECT_CUDA(cudaSetDevice(5));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    ncclResult_t state = ncclCommInitRankConfig(&comm, 2, id, rank, &config);
    while (state == ncclInProgress) TRIPTYCH_EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, ncclInvalidUsage);
    TRIPTYCH_EXPECT_NCCL(ncclCommAbort(comm));
  });
}

TEST(NcclFaults, BadArguments) {
  const auto run = [](const std::function<void(Member&)>& call) {
    return run_processes(1, [&](int rank, const ncclUniqueId& id) {
      Member me(rank, 1, id);
      call(me);
      me.synchronize();
    });
  };
  expect_violation(run([](Member& me) {
                     float on_host = 0;
                     ncclAllReduce(&on_host, &on_host, 1, ncclFloat32, ncclSum, me.comm, me.stream);
                   }),
                   "host-pointer-in-kernel", {"ncclAllReduce(sum, float32 x 1)"});
  expect_violation(run([](Member& me) {
                     const OnDevice<float> data(me, std::vector<float>(4));
                     ncclAllReduce(data.data(), data.data(), 5, ncclFloat32, ncclSum, me.comm, me.stream);
                     me.synchronize();
                   }),
                   "out-of-bounds", {"ncclAllReduce(sum, float32 x 5)"});
  expect_violation(run([](Member& me) {
                     const OnDevice<float> data(me, 4);
                     ncclAllReduce(data.data(), data.data(), 4, ncclFloat32, ncclSum, me.comm, me.stream);
                     me.synchronize();
                   }),
                   "uninitialised-read", {"ncclAllReduce(sum, float32 x 4)"});
  expect_violation(run([](Member& me) {
                     const OnDevice<float> data(me, std::vector<float>(4));
                     ncclAllGather(data.data(), data.data() + 1, 2, ncclFloat32, me.comm, me.stream);
                   }),
                   "bad-argument", {"overlap"});
  expect_violation(run([](Member& me) {
                     const ncclComm_t comm = me.comm;
                     ncclCommDestroy(std::exchange(me.comm, nullptr));
                     ncclResult_t state;
                     ncclCommGetAsyncError(comm, &state);
                   }),
                   "bad-argument", {"ncclCommGetAsyncError with a communicator that does not exist"});
}

TEST(NcclFaults, UndefinedBytesMayBeMovedButStayUndefined) {
  const auto gather_and_read = [](bool read_padding) {
    return [read_padding](int rank, const ncclUniqueId& id) {
      Member me(rank, 2, id);
      const OnDevice<float> row(me, 4), all(me, 8);
      const float value = 3;
      TRIPTYCH_EXPECT_CUDA(cudaMemcpyAsync(row.data(), &value, sizeof value, cudaMemcpyHostToDevice, me.stream));
      TRIPTYCH_EXPECT_NCCL(ncclAllGather(row.data(), all.data(), 4, ncclFloat32, me.comm, me.stream));
      std::vector<float> read(8);
      const std::size_t bytes = (read_padding ? 2 : 1) * sizeof(float);
      TRIPTYCH_EXPECT_CUDA(cudaMemcpyAsync(read.data(), all.data() + 4, bytes, cudaMemcpyDeviceToHost, me.stream));
      me.synchronize();
      EXPECT_EQ(read[0], 3.0f);
    };
  };
  on_ranks(2, gather_and_read(false));
  expect_violation(run_processes(2, gather_and_read(true), kImpatient), "uninitialised-read", {});
}

// Also where something was written before.
TEST(NcclFaults, UndefinedBytesReplaceDefinedOnes) {
  const auto run = [](CallKind kind, bool reads_padding) {
    return run_processes(2, [kind, reads_padding](int rank, const ncclUniqueId& id) {
      Member me(rank, 2, id);
      const OnDevice<float> row(me, 4), received(me, std::vector<float>(8, 1.0F));
      const float value = 3;
      TRIPTYCH_EXPECT_CUDA(cudaMemcpyAsync(row.data(), &value, sizeof value, cudaMemcpyHostToDevice, me.stream));
      if (kind == CallKind::kAllGather) {
        TRIPTYCH_EXPECT_NCCL(ncclAllGather(row.data(), received.data(), 4, ncclFloat32, me.comm, me.stream));
      } else if (kind == CallKind::kBroadcast) {
        TRIPTYCH_EXPECT_NCCL(ncclBroadcast(row.data(), received.data(), 4, ncclFloat32, 0, me.comm, me.stream));
      } else if (rank == 0) {
        TRIPTYCH_EXPECT_NCCL(ncclSend(row.data(), 4, ncclFloat32, 1, me.comm, me.stream));
      } else {
        TRIPTYCH_EXPECT_NCCL(ncclRecv(received.data(), 4, ncclFloat32, 0, me.comm, me.stream));
      }
      me.synchronize();
      if (rank == 0) return;
      std::vector<float> read(2);
      const std::size_t bytes = (reads_padding ? 2 : 1) * sizeof(float);
      TRIPTYCH_EXPECT_CUDA(cudaMemcpyAsync(read.data(), received.data(), bytes, cudaMemcpyDeviceToHost, me.stream));
      me.synchronize();
      EXPECT_EQ(read[0], 3.0F);
    });
  };
  std::vector<std::vector<RankResult>> sound, faulty;  // all are run before any is looked at
  for (const CallKind kind : {CallKind::kAllGather, CallKind::kBroadcast, CallKind::kSend}) {
    sound.push_back(run(kind, false));
    faulty.push_back(run(kind, true));
  }
  for (const auto& results : sound) EXPECT_EQ(results[1].exit_code, 0) << results[1].output;
  for (const auto& results : faulty) expect_violation(results, "uninitialised-read", {"byte 4 of"});
}

TEST(NcclFaults, ACollectiveOnTheWrongStreamIsARace) {
  expect_violation(
      run_processes(
          2,
          [](int rank, const ncclUniqueId& id) {
            Member me(rank, 2, id);
            cudaStream_t other;
            TRIPTYCH_EXPECT_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
            const OnDevice<float> data(me, std::vector<float>(8));
            me.synchronize();
            TRIPTYCH_EXPECT_CUDA(cudaMemsetAsync(data.data(), 0, 32, me.stream));
            TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data.data(), data.data(), 8, ncclFloat32, ncclSum, me.comm, other));
            TRIPTYCH_EXPECT_CUDA(cudaStreamSynchronize(other));
            me.synchronize();
          },
          kImpatient),
      "stream-race", {"ncclAllReduce(sum, float32 x 8)"});
}

}  // namespace
}  // namespace triptych::emulator
