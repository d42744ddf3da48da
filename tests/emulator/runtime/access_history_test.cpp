#include "emulator/runtime/access_history.h"

#include <random>

#include <gtest/gtest.h>

namespace triptych::emulator {
namespace {

PointPtr point_on(std::size_t stream, uint64_t sequence, const VectorClock& before = {}) {
  auto point = std::make_shared<Point>();
  point->stream = stream;
  point->sequence = sequence;
  point->clock = before;
  point->clock.advance(stream, sequence);
  return point;
}

// The plain definition, byte by byte: two accesses conflict if one writes and neither is ordered before the other.
class BytewiseHistory {
 public:
  bool add(const PointPtr& point, const Access& access) {
    bool conflicts = false;
    for (uint64_t at = access.begin; at < access.end; ++at) {
      for (const auto& [other, writes] : touched_[at])
        conflicts |= (writes || access.writes) && !point->is_after(*other);
      touched_[at].emplace_back(point, access.writes);
    }
    return conflicts;
  }

 private:
  std::map<uint64_t, std::vector<std::pair<PointPtr, bool>>> touched_;
};

TEST(AccessHistory, AgreesWithTheDefinitionOnRandomAccesses) {
  int num_conflicts = 0, num_ordered = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint64_t limit) { return random() % limit; };
    AccessHistory history;
    BytewiseHistory oracle;
    constexpr std::size_t kStreams = 3;
    VectorClock clocks[kStreams];
    uint64_t sequences[kStreams] = {};
    for (int step = 0; step < 60; ++step) {
      const std::size_t stream = below(kStreams);
      if (below(2) == 0) clocks[stream].join(clocks[below(kStreams)]);  // a wait for another stream
      const PointPtr point = point_on(stream, ++sequences[stream], clocks[stream]);
      clocks[stream] = point->clock;
      const uint64_t begin = below(40), end = begin + 1 + below(20);
      const Access access{begin, end, below(3) == 0};
      const bool conflicts = history.add(point, std::vector<Access>{access}).has_value();
      ASSERT_EQ(conflicts, oracle.add(point, access)) << "seed " << seed << ", step " << step;
      if (conflicts) {  // what comes after a conflict need not agree: the first one ends the program
        ++num_conflicts;
        break;
      }
      ++num_ordered;
    }
  }
  EXPECT_GT(num_conflicts, 100);
  EXPECT_GT(num_ordered, 500);
}

TEST(AccessHistory, ForgetsRanges) {
  AccessHistory history;
  EXPECT_FALSE(history.add(point_on(0, 1), std::vector<Access>{{0, 100, true}}));
  history.forget(20, 30);
  EXPECT_FALSE(history.add(point_on(1, 1), std::vector<Access>{{20, 30, true}}));
  const auto conflict = history.add(point_on(1, 2), std::vector<Access>{{25, 40, false}});
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->access.begin, 30u);
  EXPECT_EQ(conflict->access.end, 40u);
  EXPECT_TRUE(conflict->earlier_wrote);
}

}  // namespace
}  // namespace triptych::emulator
