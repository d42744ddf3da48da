#include "device/cpu/memory_pool.h"

#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

std::size_t rounded(std::size_t bytes) {
  return (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
}

TEST(MemoryPool, AlignsToACacheLine) {
  MemoryPool pool;
  std::vector<std::byte*> all;
  for (const std::size_t bytes : {0, 1, 63, 64, 65, 1000}) {
    std::byte* data = pool.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0u) << bytes;
    std::memset(data, 1, bytes);
    all.push_back(data);
  }
  EXPECT_NE(all[0], all[1]) << "even nothing has a place of its own";
  for (std::byte* data : all) pool.free(data);
}

TEST(MemoryPool, CountsWhatIsInUse) {
  MemoryPool pool;
  EXPECT_EQ(pool.stats().held_bytes, 0u);
  std::byte* a = pool.allocate(100);
  std::byte* b = pool.allocate(64);
  EXPECT_EQ(pool.stats().used_bytes, 128u + 64u);
  pool.free(a);
  EXPECT_EQ(pool.stats().used_bytes, 64u);
  EXPECT_EQ(pool.stats().peak_used_bytes, 192u);
  pool.free(b);
  EXPECT_EQ(pool.stats().used_bytes, 0u);
  EXPECT_EQ(pool.stats().num_system_allocations, 1);
  EXPECT_GE(pool.stats().held_bytes, 192u);
}

TEST(MemoryPool, FreedNeighboursServeALargerRequest) {
  // Three blocks that fill a segment, freed in every order: only if all merge does the segment fit again.
  constexpr std::size_t kSegment = std::size_t{64} << 20;
  for (const std::vector<int>& order : {std::vector{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
    MemoryPool pool;
    std::vector<std::byte*> blocks{pool.allocate(kSegment / 4), pool.allocate(kSegment / 2),
                                   pool.allocate(kSegment / 4)};
    ASSERT_EQ(pool.stats().held_bytes, kSegment);
    for (const int i : order) pool.free(blocks[static_cast<std::size_t>(i)]);
    pool.free(pool.allocate(kSegment));
    EXPECT_EQ(pool.stats().num_system_allocations, 1);
  }
}

TEST(MemoryPool, TakesTheSmallestPieceThatFits) {
  MemoryPool pool;
  std::byte* large = pool.allocate(4096);
  std::byte* wall1 = pool.allocate(64);
  std::byte* small = pool.allocate(256);
  std::byte* wall2 = pool.allocate(64);
  pool.free(large);
  pool.free(small);
  EXPECT_EQ(pool.allocate(200), small);
  EXPECT_EQ(pool.allocate(300), large);
  EXPECT_NE(wall1, wall2);
}

TEST(MemoryPool, ASteadyPatternAsksTheSystemForNothing) {
  MemoryPool pool;
  const auto step = [&](unsigned order) {
    std::vector<std::byte*> alive;
    std::mt19937 random(order);
    for (const std::size_t bytes : {5'000'000, 300, 77'777, 12'000'000, 64, 9'000'001, 1'000'000}) {
      alive.push_back(pool.allocate(bytes));
    }
    std::shuffle(alive.begin(), alive.end(), random);
    for (std::byte* data : alive) pool.free(data);
  };
  step(0);
  const MemoryStats first = pool.stats();
  for (unsigned i = 1; i < 200; ++i) step(i);
  EXPECT_EQ(pool.stats().num_system_allocations, first.num_system_allocations);
  EXPECT_EQ(pool.stats().held_bytes, first.held_bytes);
  EXPECT_EQ(pool.stats().peak_used_bytes, first.peak_used_bytes);
}

TEST(MemoryPool, LargerThanASegmentGetsOneOfItsOwn) {
  MemoryPool pool;
  constexpr std::size_t kLarge = (std::size_t{64} << 20) + 1;
  std::byte* large = pool.allocate(kLarge);
  large[kLarge - 1] = std::byte{1};
  EXPECT_GE(pool.stats().held_bytes, kLarge);
  EXPECT_LT(pool.stats().held_bytes, kLarge + (2 << 20));
  pool.free(large);
}

TEST(MemoryPool, RefusesToFreeTwiceAndWhatIsNotItsOwn) {
  MemoryPool pool;
  std::byte* data = pool.allocate(10);
  pool.free(data);
  EXPECT_THROW(pool.free(data), InternalError);
  std::byte other{};
  EXPECT_THROW(pool.free(&other), InternalError);
}

TEST(MemoryPool, TooMuchIsAnErrorThatNamesTheSizes) {
  Device device(1);
  const Buffer kept = device.allocate(1 << 20);
  try {
    device.allocate(std::size_t{1} << 60);
    FAIL() << "got an exbibyte";
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("1.00 MiB are in use (activations and workspace 1.00 MiB)"),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(device.memory().used_bytes, std::size_t{1} << 20);
}

// Against a shadow: no two live blocks overlap, contents stay, counts agree.
TEST(MemoryPool, RandomUseAgreesWithAShadow) {
  MemoryPool pool;
  struct Live {
    std::size_t bytes;
    unsigned char mark;
  };
  std::map<std::byte*, Live> live;
  std::mt19937 random(7);
  std::size_t used = 0, peak = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (live.size() < 200 && (live.empty() || random() % 5 < 3)) {
      const std::size_t bytes = random() % 20 == 0 ? random() % 3'000'000 : random() % 3'000;
      std::byte* data = pool.allocate(bytes);
      const auto after = live.lower_bound(data);
      if (after != live.end()) {
        ASSERT_LE(data + bytes, after->first);
      }
      if (after != live.begin()) {
        const auto before = std::prev(after);
        ASSERT_LE(before->first + before->second.bytes, data);
      }
      const auto mark = static_cast<unsigned char>(random());
      std::memset(data, mark, std::min<std::size_t>(bytes, 4096));
      live.emplace(data, Live{bytes, mark});
      used += rounded(bytes);
      peak = std::max(peak, used);
    } else {
      const auto victim = std::next(live.begin(), static_cast<long>(random() % live.size()));
      const auto [data, block] = *victim;
      for (std::size_t k = 0; k < std::min<std::size_t>(block.bytes, 4096); ++k) {
        ASSERT_EQ(static_cast<unsigned char>(data[k]), block.mark) << "somebody else wrote here";
      }
      pool.free(data);
      live.erase(victim);
      used -= rounded(block.bytes);
    }
    ASSERT_EQ(pool.stats().used_bytes, used);
  }
  EXPECT_EQ(pool.stats().peak_used_bytes, peak);
  for (const auto& [data, block] : live) pool.free(data);
  EXPECT_EQ(pool.stats().used_bytes, 0u);
}

TEST(Buffer, GoesBackOnceAndKeepsThePoolAlive) {
  Buffer survivor;
  {
    Device device(1);
    {
      Buffer a = device.allocate(100);
      EXPECT_EQ(a.size(), 100u);
      Buffer b = std::move(a);
      EXPECT_EQ(a.data(), nullptr);
      EXPECT_EQ(device.memory().used_bytes, 128u);
      b = device.allocate(10);
      EXPECT_EQ(device.memory().used_bytes, 64u);
    }
    EXPECT_EQ(device.memory().used_bytes, 0u);
    survivor = device.allocate(50);
  }
  std::memset(survivor.data(), 1, survivor.size());
}

TEST(Device, RefusesNoThreads) {
  EXPECT_THROW(Device(0), UserError);
}

TEST(MemoryPool, ServesSeveralThreads) {
  Device device(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&device, t] {
      for (int i = 0; i < 2'000; ++i) {
        const std::size_t bytes = 1 + static_cast<std::size_t>(i * 37 % 5'000);
        const Buffer buffer = device.allocate(bytes);
        std::memset(buffer.data(), t, bytes);
        ASSERT_EQ(static_cast<int>(buffer.data()[bytes - 1]), t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(device.memory().used_bytes, 0u);
}

TEST(Stream, ScratchGrowsAndStays) {
  Stream stream(1);
  std::byte* small = stream.scratch(100);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small) % 64, 0u);
  EXPECT_EQ(stream.scratch(50), small);
  std::byte* large = stream.scratch(1 << 20);
  std::memset(large, 1, 1 << 20);
  EXPECT_EQ(stream.scratch(1 << 10), large);
}

TEST(Stream, KeepsOneStateOfEachType) {
  struct Counter {
    int count = 0;
  };
  struct Other {
    int count = 40;
  };
  Stream stream(1), second(1);
  ++stream.state<Counter>().count;
  ++stream.state<Counter>().count;
  EXPECT_EQ(stream.state<Counter>().count, 2);
  EXPECT_EQ(stream.state<Other>().count, 40);
  EXPECT_EQ(second.state<Counter>().count, 0);
}

}  // namespace
}  // namespace triptych::test
