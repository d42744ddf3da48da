#include <memory>

#include <gtest/gtest.h>

#include "emulator/ptx/engine_support.h"

namespace triptych::emulator {
namespace {

// Every kind of violation, and beside it the same kernel where nothing is wrong.
class Faults : public testing::TestWithParam<int> {
 protected:
  Faults() { engine.load_file("faults", GetParam()); }

  template <class... Arguments>
  void expect(const std::string& name, const std::string& kernel, Arguments... arguments) {
    for (const uint64_t seed : {0, 1, 2}) {
      engine.launch.seed = seed;
      EXPECT_EQ(engine.violation(kernel, arguments...), name)
          << kernel << " with seed " << seed << ": " << engine.message;
    }
  }
  uint64_t output(std::size_t count = 128) { return engine.uninitialised(4 * count, "output"); }
  uint64_t floats(std::size_t count) { return engine.device(std::vector<float>(count, 1.0F), "input"); }

  Engine engine;
};

INSTANTIATE_TEST_SUITE_P(Targets, Faults, testing::Values(80, 90), testing::PrintToStringParamName());

TEST_P(Faults, GlobalBounds) {
  const uint64_t to = output(), from = floats(32);
  engine.shape(1, 32);
  expect("", "read_at", to, from, 0);
  expect("out-of-bounds", "read_at", to, from, 1);
  EXPECT_NE(engine.message.find("4 bytes at"), std::string::npos) << engine.message;
  EXPECT_NE(engine.message.find("input (128 bytes)"), std::string::npos) << engine.message;
  EXPECT_NE(engine.message.find("thread (31, 0, 0)"), std::string::npos) << engine.message;
  EXPECT_NE(engine.message.find("faults.cu:"), std::string::npos) << engine.message;
  EXPECT_NE(engine.message.find("ld.global"), std::string::npos) << engine.message;
  expect("out-of-bounds", "read_at", to, from, -1);
  expect("out-of-bounds", "read_at", to, from, 1 << 28);
  expect("out-of-bounds", "read_at", to, uint64_t{0}, 0);
  expect("", "write_at", to, 96);
  expect("out-of-bounds", "write_at", to, 97);
}

TEST_P(Faults, UseAfterFree) {
  const uint64_t to = output(), from = floats(32);
  engine.shape(1, 32);
  expect("", "read_at", to, from, 0);
  engine.memory.free(from);
  expect("use-after-free", "read_at", to, from, 0);
  expect("use-after-free", "write_at", from, 0);
}

TEST_P(Faults, HostPointer) {
  const std::vector<float> host(64, 1.0F);
  engine.shape(1, 32);
  expect("host-pointer-in-kernel", "read_at", output(), reinterpret_cast<uint64_t>(host.data()), 0);
}

TEST_P(Faults, UninitialisedGlobal) {
  const uint64_t from = engine.uninitialised(256, "input"), to = output();
  engine.shape(1, 32);
  expect("uninitialised-read", "read_at", to, from, 0);
  expect("", "write_at", from, 0);
  expect("", "read_at", to, from, 0);
  expect("uninitialised-read", "read_at", to, from, 1);
}

TEST_P(Faults, Misaligned) {
  const uint64_t to = output(256), from = floats(140);
  engine.shape(1, 32);
  expect("", "read_vector_at", to, from, 4);
  expect("misaligned-access", "read_vector_at", to, from, 1);
  expect("misaligned-access", "read_vector_at", to, from, 2);
}

TEST_P(Faults, SharedBounds) {
  const uint64_t to = output();
  engine.shape(1, 32);
  expect("", "shared_index", to, 0);
  expect("out-of-bounds", "shared_index", to, 1);
  expect("out-of-bounds", "shared_index", to, -1);
  engine.launch.dynamic_shared_bytes = 128;
  expect("", "dynamic_shared_index", to, 0);
  expect("out-of-bounds", "dynamic_shared_index", to, 1);
  engine.launch.dynamic_shared_bytes = 64;
  expect("out-of-bounds", "dynamic_shared_index", to, 0);
}

TEST_P(Faults, SharedUninitialised) {
  const uint64_t to = output();
  engine.shape(1, 64);
  expect("", "shared_uninitialised", to, 64);
  expect("uninitialised-read", "shared_uninitialised", to, 63);
}

TEST_P(Faults, Local) {
  std::vector<int> indices(32);
  for (int i = 0; i < 32; ++i) indices[static_cast<std::size_t>(i)] = i % 16;
  const uint64_t to = output(), good = engine.device(indices);
  engine.shape(1, 32);
  expect("", "local_index", to, good, 16);
  expect("uninitialised-read", "local_index", to, good, 15);
  indices[31] = 16;
  expect("out-of-bounds", "local_index", to, engine.device(indices), 16);
}

TEST_P(Faults, SharedRaces) {
  const uint64_t to = output();
  engine.shape(1, 128);
  expect("", "neighbour", to, 0, 0);
  expect("", "neighbour", to, 32, 1);
  expect("", "neighbour", to, 1, 1);
  expect("shared-race", "neighbour", to, 32, 2);  // a warp's barrier orders no other warp
  engine.shape(1, 32);
  expect("uninitialised-read", "neighbour", to, 1, 2);  // lane 31 reads what no thread of this block writes
  engine.shape(1, 128);
  expect("", "write_after_read", to, 1);
  expect("shared-race", "write_after_read", to, 0);
}

TEST_P(Faults, WarpRaces) {
  const uint64_t to = output();
  engine.shape(1, 32);
  expect("", "half_warps", to, 0U);
  expect("shared-race", "half_warps", to, 1U);
  expect("shared-race", "shuffle_is_no_barrier", to);
  expect("", "same_place", to, 0, 0);  // equal values in one instruction
  expect("shared-race", "same_place", to, 1, 0);
  expect("", "same_place", to, 0, 1);
  engine.shape(1, 64);
  expect("shared-race", "same_place", to, 0, 0);
  expect("", "same_place", to, 0, 1);
  engine.shape(1, 128);
  expect("", "bytes_of_a_word", to);
}

TEST_P(Faults, GlobalRaces) {
  const uint64_t to = output(), tile = output();
  engine.shape(1, 128);
  expect("", "global_neighbour", to, tile, 0, 0);
  expect("", "global_neighbour", to, tile, 32, 1);
  expect("", "global_neighbour", to, tile, 1, 1);
  expect("global-race", "global_neighbour", to, tile, 32, 2);  // a warp's barrier orders no other warp
  EXPECT_NE(engine.message.find("of output (512 bytes), which thread "), std::string::npos) << engine.message;
  EXPECT_NE(engine.message.find("with no __syncthreads in between"), std::string::npos) << engine.message;
  expect("", "global_write_after_read", to, tile, 1);
  expect("global-race", "global_write_after_read", to, tile, 0);
  expect("global-race", "global_neighbour", to, output(), 1, 0);  // also where it reads before anything was written
  engine.shape(1, 32);
  expect("", "global_neighbour", to, tile, 0, 2);
  expect("global-race", "global_neighbour", to, tile, 1, 0);
  engine.shape(2, 32);  // what races within no block, but between two
  expect("block-race", "global_neighbour", to, tile, 0, 0);
}

TEST_P(Faults, GlobalRacesWithinAWarp) {
  const uint64_t to = output(), tile = engine.device(std::vector<int>(128));
  engine.shape(1, 32);
  expect("", "global_half_warps", to, tile, 0U);
  expect("global-race", "global_half_warps", to, tile, 1U);
  expect("", "global_same_place", tile, 0, 0);  // equal values in one instruction
  expect("global-race", "global_same_place", tile, 1, 0);
  engine.shape(1, 64);
  expect("global-race", "global_same_place", tile, 0, 0);
  expect("", "global_same_place", tile, 0, 1);
  expect("", "global_same_place", tile, 0, 2);
  expect("global-race", "global_same_place", tile, 0, 3);
}

TEST_P(Faults, GlobalAccessesOfOneThreadDoNotRace) {
  const uint64_t vectors = floats(4 * 64), halves = engine.device(std::vector<uint16_t>(65));
  engine.shape(1, 64);
  expect("", "global_in_place", vectors, halves);
  expect("", "global_overlap", halves, 0);
  expect("", "global_overlap", halves, 64);
  expect("global-race", "global_overlap", halves, 1);
  expect("global-race", "global_overlap", halves, 63);
}

TEST_P(Faults, LastWarpNeedsTheFence) {
  engine.shape(1, 128);
  for (const uint64_t seed : {0, 1, 2, 3}) {
    engine.launch.seed = seed;
    const uint64_t total = output(1), sums = output(), counter = engine.device(std::vector<unsigned>(1));
    EXPECT_EQ(engine.violation("last_warp", total, sums, counter, 1), "") << engine.message;
    EXPECT_EQ(engine.host<int>(total, 1)[0], 128);
    EXPECT_EQ(engine.violation("last_warp", total, sums, counter, 0), "global-race") << engine.message;
  }
}

TEST_P(Faults, BlockRaces) {
  const uint64_t to = output(256);
  engine.shape(4, 32);
  expect("", "overlapping_blocks", to, 32);
  expect("block-race", "overlapping_blocks", to, 31);
  EXPECT_NE(engine.message.find("output (1024 bytes)"), std::string::npos) << engine.message;
  const uint64_t data = floats(128);
  expect("", "read_other_block", data, 0);
  expect("block-race", "read_other_block", data, 32);
  // What one block has not written yet when another reads it is a race as well, whoever comes first.
  for (const uint64_t seed : {0, 1, 2, 3}) {
    engine.launch.seed = seed;
    EXPECT_EQ(engine.violation("chain_of_blocks", output(128)), "block-race") << engine.message;
  }
  engine.shape(1, 32);
  EXPECT_EQ(engine.violation("chain_of_blocks", output(128)), "uninitialised-read") << engine.message;
}

TEST_P(Faults, LastBlockNeedsTheFence) {
  engine.shape(5, 32);
  for (const bool fence : {true, false}) {
    for (const uint64_t seed : {0, 1, 2, 3}) {
      engine.launch.seed = seed;
      const uint64_t counter = engine.device(std::vector<unsigned>(1)), total = output(1), sums = output(5);
      EXPECT_EQ(engine.violation("last_block", total, sums, counter, int{fence}), fence ? "" : "block-race")
          << engine.message;
      if (fence) {
        EXPECT_EQ(engine.host<float>(total, 1)[0], 5.0F);
      }
    }
  }
}

// A block polls what another updates: by atomics on one side and volatile loads on the other that is no race.
TEST_P(Faults, VolatileLoadsGoWithAtomics) {
  const uint64_t to = output(4), flag = engine.device(std::vector<unsigned>(1), "flag");
  engine.shape(4, 32);
  const LaunchResult result = engine.run("poll", to, flag, 1);
  EXPECT_TRUE(result.reads.intersects(flag, flag + 4));
  EXPECT_EQ(engine.violation("poll", to, flag, 0), "block-race") << engine.message;
  engine.shape(1, 1);
  const LaunchResult only_reads = engine.run("poll", to, flag, 2);
  EXPECT_TRUE(only_reads.reads.intersects(flag, flag + 4));
  EXPECT_FALSE(only_reads.writes.intersects(flag, flag + 4));
}

TEST_P(Faults, DivergentBarrier) {
  const uint64_t to = output();
  engine.shape(1, 64);
  expect("", "divergent_barrier", to, 64);
  expect("", "divergent_barrier", to, 0);
  expect("", "exits_before_barrier", to, 40);
  expect("divergent-barrier", "two_barriers", to, 32);
  expect("divergent-barrier", "two_barriers", to, 8);
  expect("", "two_barriers", to, 64);
}

TEST_P(Faults, DivergentShuffle) {
  const uint64_t to = output();
  engine.shape(1, 32);
  expect("", "divergent_shuffle", to, 32);
  expect("divergent-shuffle", "divergent_shuffle", to, 16);
  expect("", "shuffle_beyond_mask", to, 0x00FFU, 1);
  expect("divergent-shuffle", "shuffle_beyond_mask", to, 0x00FFU, 8);
  engine.shape(1, 40);  // the second warp has eight lanes
  expect("divergent-shuffle", "shuffle_beyond_mask", to, 0xFFFFFFFFU, 8);
}

TEST_P(Faults, LaunchLimits) {
  const uint64_t to = output(2048);
  engine.shape(1, 64);
  expect("", "bounded", to);
  engine.shape(1, 65);
  expect("launch-limit", "bounded", to);
  engine.shape(1, 1025);
  expect("launch-limit", "write_at", to, 0);
  engine.shape(1, 1024);
  expect("", "write_at", to, 0);
  engine.launch.grid = {1, 65536, 1};
  expect("launch-limit", "write_at", to, 0);
  engine.shape(1, 32);
  engine.launch.dynamic_shared_bytes = 49 << 10;
  expect("launch-limit", "dynamic_shared_index", to, 0);
  engine.launch.max_dynamic_shared_bytes = 64 << 10;
  expect("", "dynamic_shared_index", to, 0);
}

TEST_P(Faults, AsynchronousCopies) {
  std::vector<int> values(4 * 64 * 5);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i);
  const uint64_t to = output(), from = engine.device(values);
  engine.shape(1, 64);
  expect("", "asynchronous", to, from, 1, 1);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(engine.host<int>(to, 64)[static_cast<std::size_t>(i)], 4 * (63 - i));
  expect("uninitialised-read", "asynchronous", to, from, 0, 1);
  EXPECT_NE(engine.message.find("cp.async"), std::string::npos) << engine.message;
  expect("shared-race", "asynchronous", to, from, 1, 0);

  expect("", "double_buffer", to, from, 5, 1);
  int sum = 0;
  for (int round = 0; round < 5; ++round) sum += 4 * (64 * round + 63);
  EXPECT_EQ(engine.host<int>(to, 1)[0], sum);
  expect("shared-race", "double_buffer", to, from, 5, 0);
}

}  // namespace
}  // namespace triptych::emulator
