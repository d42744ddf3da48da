// What a device does on every backend: compiled for the CPU, and once more for CUDA under emulation.

#include "device/device.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

// The period is prime, so that no two pieces of a large copy are alike.
std::vector<uint8_t> bytes_from(std::size_t count, uint8_t first) {
  std::vector<uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(first + i % 251);
  return bytes;
}

std::vector<uint8_t> read(Device& device, const Buffer& buffer) {
  std::vector<uint8_t> bytes(buffer.size());
  device.read(bytes.data(), buffer.data(), bytes.size());
  return bytes;
}

TEST(Device, NeedsAThread) {
  try {
    Device device(0);
    FAIL() << "a device without threads";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "[device] a rank needs at least one thread, found 0. Set run.threads");
  }
}

TEST(Device, ReadsWhatWasWritten) {
  Device device(1);
  for (const std::size_t size : {0, 1, 63, 4097, 20'000'003}) {
    const Buffer buffer = device.allocate(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    device.write(buffer.data(), bytes_from(size, 7).data(), size);  // the source is gone when the call returns
    EXPECT_EQ(read(device, buffer), bytes_from(size, 7)) << size;
  }
}

TEST(Device, KeepsTheOrderOfItsCalls) {
  Device device(1);
  const Buffer a = device.allocate(1001), b = device.allocate(1001);
  std::vector<uint8_t> bytes = bytes_from(1001, 1);
  device.write(a.data(), bytes.data(), bytes.size());
  std::fill(bytes.begin(), bytes.end(), uint8_t{0xee});
  device.copy(b.data(), a.data(), 1001);
  device.zero(a.data(), 1000);
  device.copy(b.data() + 1, a.data(), 5);
  std::vector<uint8_t> expected = bytes_from(1001, 1);
  std::fill(expected.begin() + 1, expected.begin() + 6, uint8_t{0});
  EXPECT_EQ(read(device, b), expected);
  expected.assign(1001, 0);
  expected.back() = bytes_from(1001, 1).back();
  EXPECT_EQ(read(device, a), expected);
}

TEST(Device, ManySmallWritesKeepTheirValues) {
  Device device(1);
  constexpr int kMany = 3000;
  const Buffer buffer = device.allocate(kMany * sizeof(int));
  for (int i = 0; i < kMany; ++i) {
    const int value = 3 * i;
    device.write(buffer.data() + static_cast<std::size_t>(i) * sizeof value, &value, sizeof value);
  }
  std::vector<int> values(kMany);
  device.read(values.data(), buffer.data(), kMany * sizeof(int));
  for (int i = 0; i < kMany; ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], 3 * i);
}

TEST(Device, UploadsBesideTheComputeStreamAndDownloadsBehindIt) {
  Device device(1);
  const Buffer first = device.allocate(777), second = device.allocate(777);
  HostBuffer source = device.allocate_host(800), target = device.allocate_host(777);
  const std::vector<uint8_t> bytes = bytes_from(777, 3);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(source.data()));
  const Event uploaded = device.upload(first.data(), source, 777, device.record());
  device.wait(uploaded);
  device.copy(second.data(), first.data(), 777);
  const Event downloaded = device.download(target, second.data(), 777);
  device.zero(second.data(), 777);  // after the download has read it
  int num_polls = 0;
  wait_on_host(downloaded, [&] { ++num_polls; });
  EXPECT_TRUE(downloaded.done());
  EXPECT_TRUE(uploaded.done());
  const auto* const result = reinterpret_cast<const uint8_t*>(target.data());
  EXPECT_EQ(std::vector<uint8_t>(result, result + 777), bytes);
  EXPECT_EQ(read(device, second), std::vector<uint8_t>(777, 0));
  EXPECT_THROW(device.upload(first.data(), target, 778, Event()), InternalError);
  EXPECT_THROW(device.download(target, first.data(), 778), InternalError);
}

TEST(Device, AnEventThatWasNeverRecordedIsDone) {
  Device device(1);
  const Event event;
  EXPECT_TRUE(event.done());
  device.wait(event);
  wait_on_host(event, nullptr);
}

TEST(Device, TestingAnEventBringsTheDeviceToIt) {
  Device device(1);
  const Buffer buffer = device.allocate(64);
  device.zero(buffer.data(), 64);
  const Event event = device.record();
  while (!event.done()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  EXPECT_TRUE(event.done());
}

TEST(Device, CountsItsMemory) {
  Device device(1);
  const MemoryStats before = device.memory();
  {
    const Buffer a = device.allocate(3 << 20), b = device.allocate(5 << 20);
    EXPECT_GE(device.memory().used_bytes, before.used_bytes + (8 << 20));
  }
  device.synchronize();
  const MemoryStats after = device.memory();
  EXPECT_EQ(after.used_bytes, before.used_bytes);
  EXPECT_GE(after.peak_used_bytes, before.used_bytes + (8 << 20));
  EXPECT_GE(after.held_bytes, std::size_t{8} << 20) << "freed memory is kept for reuse";
  { const Buffer again = device.allocate(5 << 20); }
  EXPECT_EQ(device.memory().num_system_allocations, after.num_system_allocations);
}

TEST(Device, TellsWhatItsMemoryIsFor) {
  constexpr std::size_t kMiB = 1 << 20;
  Device device(1);
  std::optional<Buffer> gradients = device.allocate(3 * kMiB, MemoryPart::kGradients);
  Buffer parameters = device.allocate(kMiB, MemoryPart::kParameters);
  Buffer moved = device.allocate(kMiB, MemoryPart::kBatches);
  { const Buffer activations = device.allocate(2 * kMiB); }
  std::swap(moved, parameters);  // what it is for goes with the memory
  parameters = Buffer();
  gradients.reset();
  const Buffer state = device.allocate(kMiB, MemoryPart::kOptimizerState);
  const auto expect = [](const MemoryByPart& found, const std::array<std::size_t, kNumMemoryParts>& mib) {
    for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
      const auto part = static_cast<MemoryPart>(i);
      EXPECT_EQ(found[part], mib[i] * kMiB) << memory_part_name(part);
    }
  };
  const MemoryStats stats = device.memory();
  EXPECT_EQ(stats.used_bytes, 2 * kMiB);
  expect(stats.used_by_part, {1, 0, 0, 1, 0, 0});
  EXPECT_EQ(stats.peak_used_bytes, 7 * kMiB);
  expect(stats.peak_by_part, {1, 0, 3, 0, 1, 2});
}

TEST(Device, OutOfMemorySaysWhichPartHoldsItAndWhatHelps) {
  constexpr std::size_t kMiB = 1 << 20, kTooMuch = std::size_t{1} << 60;
  Device device(1);
  const Buffer parameters = device.allocate(2 * kMiB, MemoryPart::kParameters),
               copies = device.allocate(kMiB, MemoryPart::kComputeCopies), activations = device.allocate(kMiB / 2);
  const auto error_of = [&](MemoryPart part) -> std::string {
    try {
      device.allocate(kTooMuch, part);
    } catch (const WorldError& error) {
      return error.what();
    }
    return "none";
  };
  for (const auto& [part, asked_for, helps] :
       {std::tuple{MemoryPart::kOptimizerState, "optimizer state", "parallel.tp or parallel.pp"},
        {MemoryPart::kBatches, "batches", "a larger parallel.dp"},
        {MemoryPart::kOther, "activations and workspace",
         "parallel.recompute = \"selective\" or \"full\", more parallel.microbatches with"}}) {
    const std::string error = error_of(part);
    EXPECT_NE(error.find(fmt::format(": 1048576.00 TiB were asked for ({}), 3.50 MiB are in use (parameters 2.00 MiB, "
                                     "compute copies 1.00 MiB, activations and workspace 512.00 KiB), ",
                                     asked_for)),
              std::string::npos)
        << error;
    EXPECT_NE(error.find(". Most of it is "), std::string::npos) << error;
    EXPECT_NE(error.find(helps), std::string::npos) << error;
  }
  EXPECT_EQ(device.memory().used_bytes, 3 * kMiB + kMiB / 2) << "what failed is not counted";
}

TEST(Device, BuffersMayBeMovedAndMayOutliveIt) {
  std::optional<Buffer> kept;
  {
    Device device(1);
    Buffer a = device.allocate(100), b = device.allocate(200);
    const std::byte* const of_b = b.data();
    a = std::move(b);
    EXPECT_EQ(a.data(), of_b);
    EXPECT_EQ(a.size(), 200u);
    device.write(a.data(), bytes_from(200, 3).data(), 200);  // may still be queued when the device goes
    kept = std::move(a);
    EXPECT_EQ(a.data(), nullptr);
    HostBuffer c = device.allocate_host(10), d = device.allocate_host(0);
    d = std::move(c);
    EXPECT_EQ(d.size(), 10u);
  }
  EXPECT_EQ(kept->size(), 200u);
}

TEST(Stream, ScratchGrowsAndIsKept) {
  Device device(1);
  std::byte* const small = device.stream().scratch(1000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small) % 64, 0u);
  EXPECT_EQ(device.stream().scratch(500), small);
  device.zero(small, 1000);
  std::byte* const large = device.stream().scratch(9 << 20);
  device.zero(large, 9 << 20);
  EXPECT_EQ(device.stream().scratch(9 << 20), large);
  device.synchronize();
}

TEST(Stream, KeepsStateByType) {
  struct Counter {
    int value = 0;
  };
  Device device(1);
  device.stream().state<Counter>().value = 5;
  EXPECT_EQ(device.stream().state<Counter>().value, 5);
}

}  // namespace
}  // namespace triptych::test
