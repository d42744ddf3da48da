#include <cmath>
#include <csignal>
#include <cstring>

#include <gtest/gtest.h>

#include "emulator/device_memory.h"
#include "emulator/interval_set.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

TEST(IntervalSet, MergesWhatTouches) {
  IntervalSet set;
  set.add(10, 20);
  set.add(30, 40);
  set.add(5, 5);
  EXPECT_EQ(set.num_bytes(), 20U);
  EXPECT_FALSE(set.intersects(20, 30));
  EXPECT_TRUE(set.intersects(19, 20));
  EXPECT_TRUE(set.intersects(0, 100));
  EXPECT_FALSE(set.intersects(40, 50));
  EXPECT_FALSE(set.intersects(15, 15));
  set.add(20, 30);
  EXPECT_EQ(set.ranges(), (std::map<uint64_t, uint64_t>{{10, 40}}));
  set.add(0, 100);
  set.add(20, 30);
  EXPECT_EQ(set.ranges(), (std::map<uint64_t, uint64_t>{{0, 100}}));
}

class Memory : public testing::Test {
 protected:
  Memory() { throw_violations(true); }
  ~Memory() override { throw_violations(false); }

  template <class Action>
  std::string violation(Action action) {
    try {
      action();
    } catch (const Violation& violation) {
      message = violation.what();
      return violation.name;
    }
    return "";
  }

  DeviceMemory memory{1 << 20};
  std::string message;
};

TEST_F(Memory, KnowsItsAllocations) {
  const uint64_t a = memory.allocate(100, "a"), b = memory.allocate(1000, "b");
  EXPECT_EQ(a % 256, 0U);
  EXPECT_EQ(b % 256, 0U);
  EXPECT_EQ(memory.used_bytes(), 1100U);
  EXPECT_EQ(memory.find(b + 999).what, "b");
  EXPECT_EQ(memory.find(b + 999).begin, b);
  EXPECT_EQ(memory.find(b + 1000).size, 0U);
  EXPECT_TRUE(memory.contains(b + 5000));
  int local = 0;
  EXPECT_FALSE(memory.contains(reinterpret_cast<uint64_t>(&local)));
  memory.free(a);
  EXPECT_EQ(memory.find(a).size, 0U);
  EXPECT_EQ(memory.used_bytes(), 1000U);
}

TEST_F(Memory, RunsOut) {
  const uint64_t a = memory.allocate(600 << 10, "a");
  ASSERT_NE(a, 0U);
  EXPECT_EQ(memory.allocate(600 << 10, "b"), 0U);
  memory.free(a);
  EXPECT_NE(memory.allocate(600 << 10, "b"), 0U);
}

TEST_F(Memory, IsPoisonedAndWatched) {
  const uint64_t a = memory.allocate(64, "a");
  EXPECT_FALSE(memory.initialised(a, 4));
  float single = 0;
  double twice = 0;
  std::memcpy(&single, memory.bytes(a), 4);
  std::memcpy(&twice, memory.bytes(a), 8);
  EXPECT_TRUE(std::isnan(single));
  EXPECT_TRUE(std::isnan(twice));
  EXPECT_EQ(violation([&] { memory.read(a, 4, "copy"); }), "uninitialised-read");
  EXPECT_NE(message.find("byte 0 of a (64 bytes)"), std::string::npos) << message;
  memory.write(a, 32, "copy");
  EXPECT_EQ(violation([&] { memory.read(a, 32, "copy"); }), "");
  EXPECT_EQ(violation([&] { memory.read(a, 33, "copy"); }), "uninitialised-read");
  EXPECT_EQ(violation([&] { memory.write(a, 65, "copy"); }), "out-of-bounds");
  EXPECT_EQ(violation([&] { memory.write(a - 1, 2, "copy"); }), "out-of-bounds");
  EXPECT_EQ(violation([&] { memory.write(reinterpret_cast<uint64_t>(&single), 4, "copy"); }), "host-pointer-in-kernel");
}

TEST_F(Memory, CopiesMoveUndefinednessAlong) {
  const uint64_t a = memory.allocate(64, "a"), b = memory.allocate(64, "b");
  memory.write(a, 32, "test");
  memory.write(b, 64, "test");
  memory.copy(b, a, 64, "copy");
  EXPECT_TRUE(memory.initialised(b, 32));
  EXPECT_FALSE(memory.initialised(b + 32, 1));
  EXPECT_EQ(violation([&] { memory.copy(b, a, 65, "copy"); }), "out-of-bounds");
}

TEST_F(Memory, FreesOnce) {
  const uint64_t a = memory.allocate(64, "a");
  EXPECT_EQ(violation([&] { memory.free(a + 256); }), "bad-argument");
  memory.free(a);
  EXPECT_EQ(violation([&] { memory.free(a); }), "double-free");
  EXPECT_EQ(violation([&] { memory.write(a, 4, "copy"); }), "use-after-free");
  const uint64_t b = memory.allocate(64, "b");
  EXPECT_NE(a, b);  // freed addresses rest
  std::memset(memory.bytes(b) + 64, 0, 1);
  EXPECT_EQ(violation([&] { memory.free(b); }), "red-zone-damaged");
}

TEST_F(Memory, AddressesComeRoundAgain) {
  for (int i = 0; i < 300; ++i) {
    const uint64_t a = memory.allocate(500 << 10, "large"), b = memory.allocate(100, "small");
    ASSERT_NE(a, 0U);
    ASSERT_NE(b, 0U);
    ASSERT_FALSE(memory.initialised(a, 1));
    memory.write(a, 500 << 10, "test");
    memory.free(a);
    memory.free(b);
  }
}

TEST_F(Memory, TheHostMayNotTouchIt) {
  const uint64_t a = memory.allocate(64, "a");
  EXPECT_EXIT(*reinterpret_cast<volatile int*>(a) = 1, testing::ExitedWithCode(86), "host-touched-device-memory");
  EXPECT_EXIT(*reinterpret_cast<volatile int*>(memory.end() + (uint64_t{1} << 46)) = 1,
              testing::KilledBySignal(SIGSEGV),
              "");  // other faults are not ours
}

TEST(Report, EndsTheProcess) {
  EXPECT_EXIT(report("double-free", "twice"), testing::ExitedWithCode(86), "emulator: \\[double-free\\] twice");
}

}  // namespace
}  // namespace triptych::emulator
