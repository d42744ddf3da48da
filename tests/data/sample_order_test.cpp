#include "data/sample_order.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

TEST(SampleOrder, OfOneSourceIsThatSourcesOwn) {
  for (const uint64_t batch : {1, 5, 12}) {
    const SampleOrder order(9, 47, batch), weighted(9, {{.num_samples = 47, .weight = 3}}, batch);
    const SourceOrder source(9, 47, batch);
    for (uint64_t p = 0; p < 1000; ++p) {
      ASSERT_EQ(order.sample_at(p), source.sample_at(p));
      ASSERT_EQ(weighted.sample_at(p), source.sample_at(p));
    }
  }
}

struct Case {
  std::vector<OrderedSource> sources;
  uint64_t batch;
};

std::vector<Case> cases() {
  return {{{{.num_samples = 30, .weight = 1}, {.num_samples = 17, .weight = 1}}, 8},
          {{{.num_samples = 100, .weight = 0.7}, {.num_samples = 9, .weight = 0.3}}, 12},
          {{{.num_samples = 5, .weight = 5}, {.num_samples = 40, .weight = 3}, {.num_samples = 3, .weight = 2}}, 7},
          {{{.num_samples = 23, .weight = 1}, {.num_samples = 23, .weight = 1}}, 1},
          {{{.num_samples = 6, .weight = 3}, {.num_samples = 2, .weight = 1}}, 8}};
}

TEST(SampleOrder, NoBatchHasASampleTwiceAndEachSourceGoesRoundInItsOwnEpochs) {
  for (const Case& c : cases()) {
    const SampleOrder order(3, c.sources, c.batch);
    std::vector<std::vector<uint64_t>> of_source(c.sources.size());
    for (uint64_t first = 0; first < 300 * c.batch; first += c.batch) {
      std::set<uint64_t> distinct;
      for (uint64_t r = 0; r < c.batch; ++r) {
        const uint64_t sample = order.sample_at(first + r);
        ASSERT_LT(sample, order.num_samples());
        distinct.insert(sample);
        const std::size_t s = order.mix().place(first + r).source;
        ASSERT_GE(sample, order.first_of_source(s));
        ASSERT_LT(sample, order.first_of_source(s) + c.sources[s].num_samples);
        of_source[s].push_back(sample);
      }
      ASSERT_EQ(distinct.size(), c.batch) << "the batch at " << first;
    }
    for (std::size_t s = 0; s < c.sources.size(); ++s) {
      const uint64_t n = c.sources[s].num_samples;
      ASSERT_GT(of_source[s].size(), 3 * n);
      for (uint64_t first = 0; first + n <= of_source[s].size(); first += n) {
        const auto begin = of_source[s].begin() + static_cast<std::ptrdiff_t>(first);
        EXPECT_EQ(std::set<uint64_t>(begin, begin + static_cast<std::ptrdiff_t>(n)).size(), n)
            << "source " << s << ", the epoch at " << first;
      }
    }
  }
}

TEST(SampleOrder, OfAMixIsKnownAtAnyPosition) {
  for (const Case& c : cases()) {
    const SampleOrder order(3, c.sources, c.batch);
    std::vector<uint64_t> stream;
    for (uint64_t p = 0; p < 500; ++p) stream.push_back(order.sample_at(p));
    for (const uint64_t p : {499u, 250u, 77u, 3u}) {
      EXPECT_EQ(SampleOrder(3, c.sources, c.batch).sample_at(p), stream[p]);
    }
    std::vector<uint64_t> other;
    for (uint64_t p = 0; p < 500; ++p) other.push_back(SampleOrder(4, c.sources, c.batch).sample_at(p));
    EXPECT_NE(stream, other);
  }
}

// Two sources of one size, and one that is there twice over: each has its own order.
TEST(SampleOrder, SourcesOfOneSizeHaveOrdersOfTheirOwn) {
  const SampleOrder order(5, {{.num_samples = 50}, {.num_samples = 50}}, 1);
  std::vector<std::vector<uint64_t>> of_source(2);
  for (uint64_t p = 0; p < 100; ++p) {
    const std::size_t s = order.mix().place(p).source;
    of_source[s].push_back(order.sample_at(p) - order.first_of_source(s));
  }
  EXPECT_EQ(of_source[0].size(), 50u);
  EXPECT_NE(of_source[0], of_source[1]);
}

// Shards of odd sizes, one of them empty.
TEST(EpochOrder, WindowsHoldWholeShardsAndEveryEpochHasAll) {
  const std::vector<uint64_t> first{0, 7, 7, 20, 21, 40, 52, 60, 61};
  for (const uint64_t window : {1, 2, 3, 8, 50}) {
    const EpochOrder order(11, first, window);
    std::set<std::vector<uint64_t>> orders;
    for (uint64_t epoch = 0; epoch < 6; ++epoch) {
      std::vector<uint64_t> samples;
      std::vector<uint32_t> all_shards;
      for (uint64_t index = 0; index < order.num_samples(); ++index) {
        const uint64_t sample = order.sample(epoch, index);
        samples.push_back(sample);
        const EpochOrder::Stretch stretch = order.window(epoch, index);
        ASSERT_LE(stretch.begin, index);
        ASSERT_LT(index, stretch.end);
        const std::vector<uint32_t> shards = order.shards(epoch, index);
        ASSERT_LE(shards.size(), window);
        const auto shard =
            static_cast<uint32_t>(std::upper_bound(first.begin(), first.end(), sample) - first.begin()) - 1;
        ASSERT_TRUE(std::count(shards.begin(), shards.end(), shard)) << "sample " << sample << " of another window";
        if (stretch.begin == index) all_shards.insert(all_shards.end(), shards.begin(), shards.end());
      }
      orders.insert(samples);
      std::sort(samples.begin(), samples.end());
      std::vector<uint64_t> expected(61);
      std::iota(expected.begin(), expected.end(), uint64_t{0});
      EXPECT_EQ(samples, expected) << "windows of " << window;
      // An empty shard may be a window of its own, which no sample is in.
      EXPECT_GE(std::set<uint32_t>(all_shards.begin(), all_shards.end()).size(), 7u);
    }
    EXPECT_EQ(orders.size(), 6u);
  }
}

TEST(SampleOrder, InWindowsNoBatchHasASampleTwice) {
  OrderedSource source{.num_samples = 61, .first_sample = {0, 7, 7, 20, 21, 40, 52, 60, 61}, .window_shards = 2};
  OrderedSource other{.num_samples = 20, .weight = 0.5, .first_sample = {0, 10, 20}, .window_shards = 2};
  for (const auto& sources : {std::vector{source}, std::vector{source, other}}) {
    const SampleOrder order(2, sources, 9);
    for (uint64_t first = 0; first < 900; first += 9) {
      std::set<uint64_t> distinct;
      for (uint64_t r = 0; r < 9; ++r) distinct.insert(order.sample_at(first + r));
      ASSERT_EQ(distinct.size(), 9u);
    }
  }
}

}  // namespace
}  // namespace triptych::test
