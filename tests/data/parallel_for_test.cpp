#include "data/parallel_for.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

TEST(ParallelFor, CallsEachNumberOnce) {
  for (const int threads : {1, 2, 7}) {
    for (const uint64_t count : {0u, 1u, 5u, 1000u}) {
      std::vector<std::atomic<int>> calls(count);
      parallel_for(threads, count, [&](uint64_t i) { ++calls[i]; });
      for (const auto& n : calls) EXPECT_EQ(n, 1);
    }
  }
}

TEST(ParallelFor, ThrowsWhatACallThrew) {
  for (const int threads : {1, 4}) {
    std::atomic<int> calls = 0;
    EXPECT_THROW(parallel_for(threads, 100000,
                              [&](uint64_t i) {
                                ++calls;
                                if (i == 3) throw std::runtime_error("third");
                              }),
                 std::runtime_error);
    EXPECT_LT(calls, 100000);
  }
}

}  // namespace
}  // namespace triptych::test
