// The emulator's NCCL between processes, against closed formulas.

#include <algorithm>

#include "emulator/nccl/rank_processes.h"
#include "emulator/ptx/number_formats.h"
#include "emulator/runtime/counters.h"

namespace triptych::emulator {
namespace {

using ptx::BF16;
using ptx::F16;

// Odd ones, none, one, and more than a step of shared memory holds.
const std::vector<int64_t> kCounts{0, 1, 13, 1009, 40009};

// Small whole numbers, so that sums of four are exact in every type.
int64_t number(int rank, int64_t i) {
  return (rank * 11 + i * 7) % 29 - 9;
}

template <typename T>
std::vector<T> values(int64_t count, const std::function<int64_t(int64_t)>& at) {
  std::vector<T> result;
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_class_v<T>) {
      result.push_back(ptx::to_half_nearest<T>(static_cast<float>(at(i))));
    } else {
      result.push_back(static_cast<T>(at(i)));
    }
  }
  return result;
}

template <typename T>
std::vector<T> numbers_of(int rank, int64_t count) {
  return values<T>(count, [rank](int64_t i) { return number(rank, i); });
}

// The first index where two differ in any bit, or -1.
template <typename T>
int64_t first_difference(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return static_cast<int64_t>(std::min(a.size(), b.size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return static_cast<int64_t>(i);
  }
  return -1;
}

int64_t over_ranks(ncclRedOp_t op, int num_ranks, int64_t i) {
  int64_t result = number(0, i);
  for (int r = 1; r < num_ranks; ++r) {
    const int64_t next = number(r, i);
    result = op == ncclSum ? result + next : op == ncclMax ? std::max(result, next) : std::min(result, next);
  }
  return result;
}

template <typename T>
void check_reductions(Member& me, int64_t count, ncclDataType_t type) {
  const auto n = static_cast<std::size_t>(count);
  for (const ncclRedOp_t op : {ncclSum, ncclMax, ncclMin}) {
    const auto sums = [&](int64_t begin) {
      return values<T>(count, [&](int64_t i) { return over_ranks(op, me.size, begin + i); });
    };
    const OnDevice<T> send(me, numbers_of<T>(me.rank, count)), in_place(me, numbers_of<T>(me.rank, count));
    const OnDevice<T> all(me, count), to_root(me, count), mine(me, count);
    const OnDevice<T> rows(me, numbers_of<T>(me.rank, count * me.size));
    TRIPTYCH_EXPECT_NCCL(ncclAllReduce(send.data(), all.data(), n, type, op, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclAllReduce(in_place.data(), in_place.data(), n, type, op, me.comm, me.stream));
    const int root = me.size - 1;
    TRIPTYCH_EXPECT_NCCL(ncclReduce(send.data(), to_root.data(), n, type, op, root, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclReduceScatter(rows.data(), mine.data(), n, type, op, me.comm, me.stream));
    EXPECT_EQ(first_difference(all.host(), sums(0)), -1) << count;
    EXPECT_EQ(first_difference(in_place.host(), sums(0)), -1) << count;
    if (me.rank == root) {
      EXPECT_EQ(first_difference(to_root.host(), sums(0)), -1) << count;
    }
    EXPECT_EQ(first_difference(mine.host(), sums(me.rank * count)), -1) << count;
    // In place: this rank's row of the input becomes the result.
    T* const own_row = rows.data() + me.rank * count;
    TRIPTYCH_EXPECT_NCCL(ncclReduceScatter(rows.data(), own_row, n, type, op, me.comm, me.stream));
    const std::vector<T> whole = rows.host();
    const auto begin = whole.begin() + me.rank * count;
    EXPECT_EQ(first_difference(std::vector<T>(begin, begin + count), sums(me.rank * count)), -1) << count;
  }
}

template <typename T>
void check_moves(Member& me, int64_t count, ncclDataType_t type) {
  const auto n = static_cast<std::size_t>(count);
  const std::vector<T> gathered = values<T>(count * me.size, [&](int64_t i) {
    return number(static_cast<int>(i / std::max<int64_t>(count, 1)), i % std::max<int64_t>(count, 1));
  });
  const OnDevice<T> send(me, numbers_of<T>(me.rank, count)), all(me, count * me.size);
  TRIPTYCH_EXPECT_NCCL(ncclAllGather(send.data(), all.data(), n, type, me.comm, me.stream));
  EXPECT_EQ(first_difference(all.host(), gathered), -1) << count;
  for (int root = 0; root < me.size; ++root) {
    const OnDevice<T> received(me, count);
    TRIPTYCH_EXPECT_NCCL(ncclBroadcast(send.data(), received.data(), n, type, root, me.comm, me.stream));
    EXPECT_EQ(first_difference(received.host(), numbers_of<T>(root, count)), -1) << count << " from " << root;
  }
}

// Row j of rank i to row i of rank j, by messages to all at once, itself included.
template <typename T>
void check_all_to_all(Member& me, int64_t count, ncclDataType_t type) {
  const OnDevice<T> send(me, numbers_of<T>(me.rank, count * me.size)), received(me, count * me.size);
  TRIPTYCH_EXPECT_NCCL(ncclGroupStart());
  for (int peer = 0; peer < me.size; ++peer) {
    const auto n = static_cast<std::size_t>(count);
    TRIPTYCH_EXPECT_NCCL(ncclSend(send.data() + peer * count, n, type, peer, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclRecv(received.data() + peer * count, n, type, peer, me.comm, me.stream));
  }
  TRIPTYCH_EXPECT_NCCL(ncclGroupEnd());
  const std::vector<T> expected = values<T>(count * me.size, [&](int64_t i) {
    return number(static_cast<int>(i / std::max<int64_t>(count, 1)), me.rank * count + i % std::max<int64_t>(count, 1));
  });
  EXPECT_EQ(first_difference(received.host(), expected), -1) << count;
}

class NcclOnRanks : public ::testing::TestWithParam<int> {};

TEST_P(NcclOnRanks, Reduces) {
  on_ranks(GetParam(), [](int rank, const ncclUniqueId& id) {
    Member me(rank, GetParam(), id);
    for (const int64_t count : kCounts) {
      check_reductions<float>(me, count, ncclFloat32);
      check_reductions<BF16>(me, count, ncclBfloat16);
      if (count > 2000) continue;
      check_reductions<F16>(me, count, ncclFloat16);
      check_reductions<double>(me, count, ncclFloat64);
      check_reductions<int32_t>(me, count, ncclInt32);
      check_reductions<int64_t>(me, count, ncclInt64);
      check_reductions<int8_t>(me, count, ncclInt8);
    }
  });
}

TEST_P(NcclOnRanks, Moves) {
  on_ranks(GetParam(), [](int rank, const ncclUniqueId& id) {
    Member me(rank, GetParam(), id);
    for (const int64_t count : kCounts) {
      check_moves<float>(me, count, ncclFloat32);
      check_moves<BF16>(me, count, ncclBfloat16);
      check_moves<uint8_t>(me, count, ncclUint8);
      check_moves<double>(me, count, ncclFloat64);
    }
  });
}

TEST_P(NcclOnRanks, SendsToAllInAGroup) {
  on_ranks(GetParam(), [](int rank, const ncclUniqueId& id) {
    Member me(rank, GetParam(), id);
    for (const int64_t count : kCounts) {
      check_all_to_all<float>(me, count, ncclFloat32);
      check_all_to_all<uint8_t>(me, count, ncclUint8);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, NcclOnRanks, ::testing::Values(1, 2, 3, 4));

TEST(NcclEmulator, AddsInTheOrderOfTheRanksAndRoundsAfterEach) {
  on_ranks(4, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 4, id);
    // ((1 + 1e8) - 1e8) + 1 = 1 in float32; any other order of the four gives 0 or 2.
    const std::vector<float> summands{1.0f, 1e8f, -1e8f, 1.0f};
    const OnDevice<float> one(me, std::vector<float>{summands[static_cast<std::size_t>(rank)]});
    TRIPTYCH_EXPECT_NCCL(ncclAllReduce(one.data(), one.data(), 1, ncclFloat32, ncclSum, me.comm, me.stream));
    EXPECT_EQ(one.host()[0], 1.0f);
    // bfloat16 has 8 bits: 256 + 1 rounds to 256, three times over; a float32 sum would give 259, rounded to 260.
    const OnDevice<BF16> half(me, std::vector<BF16>{ptx::to_bf16_nearest(rank == 0 ? 256.0f : 1.0f)});
    TRIPTYCH_EXPECT_NCCL(ncclAllReduce(half.data(), half.data(), 1, ncclBfloat16, ncclSum, me.comm, me.stream));
    EXPECT_EQ(ptx::to_float(half.host()[0]), 256.0f);
    const OnDevice<float> average(me, std::vector<float>{static_cast<float>(rank)});
    TRIPTYCH_EXPECT_NCCL(ncclAllReduce(average.data(), average.data(), 1, ncclFloat32, ncclAvg, me.comm, me.stream));
    EXPECT_EQ(average.host()[0], 1.5f);
  });
}

TEST(NcclEmulator, KeepsTheOrderOfMessagesBetweenTwoRanks) {
  on_ranks(2, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 2, id);
    constexpr int64_t kLong = 30'011;  // several pieces
    const OnDevice<int32_t> a(me, numbers_of<int32_t>(0, kLong)), b(me, numbers_of<int32_t>(1, kLong));
    const OnDevice<int32_t> x(me, kLong), y(me, kLong);
    TRIPTYCH_EXPECT_NCCL(ncclGroupStart());
    for (const auto* buffer : {rank == 0 ? &a : &x, rank == 0 ? &b : &y}) {
      if (rank == 0) {
        TRIPTYCH_EXPECT_NCCL(ncclSend(buffer->data(), kLong, ncclInt32, 1, me.comm, me.stream));
      } else {
        TRIPTYCH_EXPECT_NCCL(ncclRecv(buffer->data(), kLong, ncclInt32, 0, me.comm, me.stream));
      }
    }
    TRIPTYCH_EXPECT_NCCL(ncclGroupEnd());
    me.synchronize();
    if (rank == 0) return;
    EXPECT_EQ(first_difference(x.host(), numbers_of<int32_t>(0, kLong)), -1);
    EXPECT_EQ(first_difference(y.host(), numbers_of<int32_t>(1, kLong)), -1);
  });
}

TEST(NcclEmulator, SplitsByColorAndKey) {
  on_ranks(4, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 4, id);
    for (int round = 0; round < 3; ++round) {
      ncclComm_t half = nullptr, none = nullptr;
      TRIPTYCH_EXPECT_NCCL(ncclCommSplit(me.comm, rank % 2, -rank, &half, nullptr));
      int half_rank = -1, half_size = -1, device = -1;
      TRIPTYCH_EXPECT_NCCL(ncclCommUserRank(half, &half_rank));
      TRIPTYCH_EXPECT_NCCL(ncclCommCount(half, &half_size));
      TRIPTYCH_EXPECT_NCCL(ncclCommCuDevice(half, &device));
      EXPECT_EQ(half_rank, 1 - rank / 2);
      EXPECT_EQ(half_size, 2);
      EXPECT_EQ(device, rank);
      const OnDevice<int32_t> sum(me, std::vector<int32_t>{rank + 1});
      TRIPTYCH_EXPECT_NCCL(ncclAllReduce(sum.data(), sum.data(), 1, ncclInt32, ncclSum, half, me.stream));
      EXPECT_EQ(sum.host()[0], rank % 2 == 0 ? 1 + 3 : 2 + 4);
      TRIPTYCH_EXPECT_NCCL(ncclCommDestroy(half));
      TRIPTYCH_EXPECT_NCCL(ncclCommSplit(me.comm, rank == 3 ? NCCL_SPLIT_NOCOLOR : 5, rank, &none, nullptr));
      EXPECT_EQ(none == nullptr, rank == 3);
      if (none != nullptr) {
        TRIPTYCH_EXPECT_NCCL(ncclCommDestroy(none));
      }
    }
  });
}

TEST(NcclEmulator, CountsCallsAndTheBytesOfTheirInputs) {
  on_ranks(2, [](int rank, const ncclUniqueId& id) {
    Member me(rank, 2, id);
    const OnDevice<float> data(me, std::vector<float>(10)), all(me, 20);
    reset_counters();
    for (int i = 0; i < 3; ++i) {
      TRIPTYCH_EXPECT_NCCL(ncclAllReduce(data.data(), data.data(), 7, ncclFloat32, ncclSum, me.comm, me.stream));
    }
    TRIPTYCH_EXPECT_NCCL(ncclAllGather(data.data(), all.data(), 10, ncclFloat32, me.comm, me.stream));
    TRIPTYCH_EXPECT_NCCL(ncclBroadcast(data.data(), data.data(), 5, ncclFloat32, 1, me.comm, me.stream));
    me.synchronize();
    const Counts counts = counters();
    EXPECT_EQ(counts.nccl.at("ncclAllReduce").calls, 3u);
    EXPECT_EQ(counts.nccl.at("ncclAllReduce").bytes, 3u * 28);
    EXPECT_EQ(counts.nccl.at("ncclAllGather").bytes, 40u);
    EXPECT_EQ(counts.nccl.at("ncclBroadcast").bytes, rank == 1 ? 20u : 0u);
  });
}

// As NCCL's documentation says: nothing may be asked of a communicator before it is no longer in progress.
TEST(NcclEmulator, DoesNotBlockIfAskedNotTo) {
  on_ranks(3, [](int rank, const ncclUniqueId& id) {
    TRIPTYCH_EXPECT_CUDA(cudaSetDevice(rank));
    const auto await = [](ncclComm_t comm) {
      ncclResult_t state = ncclInProgress;
      while (state == ncclInProgress) TRIPTYCH_EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
      EXPECT_EQ(state, ncclSuccess);
    };
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.commName = "patient";
    ncclComm_t comm = nullptr;
    const ncclResult_t begun = ncclCommInitRankConfig(&comm, 3, id, rank, &config);
    EXPECT_TRUE(begun == ncclInProgress || begun == ncclSuccess);
    await(comm);
    ncclComm_t child = nullptr;
    const ncclResult_t split = ncclCommSplit(comm, 0, 2 - rank, &child, &config);
    EXPECT_TRUE(split == ncclInProgress || split == ncclSuccess);
    if (split == ncclInProgress) {
      ncclComm_t other = nullptr;
      EXPECT_EQ(ncclCommSplit(comm, 0, 0, &other, &config), ncclInvalidArgument);
      EXPECT_NE(std::string(ncclGetLastError(comm)).find("patient"), std::string::npos);
    }
    await(comm);
    ASSERT_NE(child, nullptr);
    await(child);
    cudaStream_t stream;
    TRIPTYCH_EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    int32_t* data = nullptr;
    TRIPTYCH_EXPECT_CUDA(cudaMalloc(reinterpret_cast<void**>(&data), sizeof *data));
    TRIPTYCH_EXPECT_CUDA(cudaMemsetAsync(data, 1, sizeof *data, stream));
    const ncclResult_t sum = ncclAllReduce(data, data, 1, ncclInt32, ncclSum, child, stream);
    EXPECT_TRUE(sum == ncclInProgress || sum == ncclSuccess);
    await(child);
    int32_t result = 0;
    TRIPTYCH_EXPECT_CUDA(cudaMemcpyAsync(&result, data, sizeof result, cudaMemcpyDeviceToHost, stream));
    TRIPTYCH_EXPECT_CUDA(cudaStreamSynchronize(stream));
    EXPECT_EQ(result, 0x01010101 * 3);
    for (const ncclComm_t each : {child, comm}) {
      const ncclResult_t end = ncclCommFinalize(each);
      EXPECT_TRUE(end == ncclInProgress || end == ncclSuccess);
      await(each);
      TRIPTYCH_EXPECT_NCCL(ncclCommDestroy(each));
    }
  });
}

}  // namespace
}  // namespace triptych::emulator
