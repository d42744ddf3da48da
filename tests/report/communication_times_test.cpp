#include "report/communication_times.h"

#include <string>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using report::communication_times;
using report::CommunicationTimes;

class Events {
 public:
  Events() { trace.start(); }
  void work(const char* kind, int64_t begin, int64_t end) {
    trace.add({.kind = kind, .name = kind, .begin_ns = begin, .end_ns = end});
  }
  void operation(const char* group, const char* name, int64_t bytes, int64_t begin, int64_t end) {
    trace.add({.track = Trace::Track::kInFlight,
               .kind = group,
               .name = name,
               .details = std::to_string(bytes) + " bytes, number 3",
               .begin_ns = begin,
               .end_ns = end});
  }
  Trace trace;
};

void expect_times(const CommunicationTimes& times, int64_t num, int64_t bytes, int64_t in_flight, int64_t hidden) {
  EXPECT_EQ(times.num_operations, num);
  EXPECT_EQ(times.bytes, bytes);
  EXPECT_EQ(times.in_flight_ns, in_flight);
  EXPECT_EQ(times.hidden_ns, hidden);
  EXPECT_EQ(times.exposed_ns(), in_flight - hidden);
}

TEST(CommunicationTimes, HiddenIsWhatIsComputedMeanwhile) {
  Events events;
  events.work("start", 10, 12);
  events.work("poll", 20, 25);
  events.work("backward", 12, 40);
  events.work("wait", 60, 70);
  events.operation("dp[pp=0]", "all_reduce(sum, float32 x 2)", 8, 10, 68);
  events.work("optimizer", 75, 80);
  events.work("step", 0, 100);
  const auto times = communication_times(events.trace);
  ASSERT_EQ(times.size(), 2u);
  // Of 58 ns: 2 of the start, 5 of the poll, 8 of the wait.
  expect_times(times.at("dp"), 1, 8, 58, 58 - 2 - 5 - 8);
  expect_times(times.at("dp all_reduce"), 1, 8, 58, 43);
  EXPECT_DOUBLE_EQ(times.at("dp").hidden_share(), 43.0 / 58);
}

TEST(CommunicationTimes, WhatIsInFlightAtOnceCountsOnce) {
  Events events;
  events.operation("dp[pp=0]", "all_reduce(sum, float32 x 1)", 4, 10, 30);
  events.operation("dp[pp=0]", "all_gather(bfloat16 x 9)", 18, 20, 50);
  events.operation("dp[pp=0]", "all_reduce(sum, float32 x 1)", 4, 50, 60);
  events.operation("tp[pp=0,dp=1]", "all_gather(float32 x 5)", 20, 90, 95);
  events.work("wait", 90, 95);
  events.work("poll", 25, 45);
  events.work("wait", 40, 55);  // of which the poll has 5
  events.work("step", 0, 100);
  const auto times = communication_times(events.trace);
  ASSERT_EQ(times.size(), 5u);
  expect_times(times.at("dp"), 3, 26, 50, 15 + 5);
  expect_times(times.at("dp all_reduce"), 2, 8, 30, 15 + 5);
  expect_times(times.at("dp all_gather"), 1, 18, 30, 5);
  expect_times(times.at("tp"), 1, 20, 5, 0);
  expect_times(times.at("tp all_gather"), 1, 20, 5, 0);
}

TEST(CommunicationTimes, OnlyStepsCount) {
  Events events;
  events.operation("pp", "send(float32 x 1, to rank 1, tag 1)", 4, 5, 9);  // before the first step
  events.operation("pp", "send(float32 x 1, to rank 1, tag 1)", 4, 15, 45);
  events.work("step", 10, 20);
  events.work("save", 20, 40);
  events.work("loader", 40, 43);
  events.work("step", 40, 50);
  const auto times = communication_times(events.trace);
  expect_times(times.at("pp send"), 1, 4, 5 + 5, 5 + 2);
}

TEST(CommunicationTimes, NothingInFlightLeavesNothingExposed) {
  Events events;
  events.work("step", 10, 20);
  EXPECT_TRUE(communication_times(events.trace).empty());
  EXPECT_EQ(CommunicationTimes().hidden_share(), 1);
  events.operation("all ranks", "all_reduce(sum, float64 x 4)", 0, 12, 12);
  expect_times(communication_times(events.trace).at("all ranks all_reduce"), 1, 0, 0, 0);
}

TEST(CommunicationTimes, RanksTellEachOther) {
  const std::map<std::string, CommunicationTimes> first{
      {"all ranks all_reduce", {.num_operations = 1, .bytes = 2, .in_flight_ns = 3, .hidden_ns = 4}},
      {"dp", {.num_operations = 5, .bytes = 6, .in_flight_ns = 7, .hidden_ns = 8}}};
  const std::map<std::string, CommunicationTimes> second{
      {"dp", {.num_operations = 10, .bytes = 20, .in_flight_ns = 30, .hidden_ns = 40}}};
  const auto sums = report::sum_of_texts({report::communication_text(first), "", report::communication_text(second)});
  ASSERT_EQ(sums.size(), 2u);
  expect_times(sums.at("all ranks all_reduce"), 1, 2, 3, 4);
  expect_times(sums.at("dp"), 15, 26, 37, 48);
}

TEST(CommunicationTimes, ATableHasTheMeans) {
  const std::map<std::string, CommunicationTimes> times{
      {"dp", {.num_operations = 8, .bytes = 8 << 20, .in_flight_ns = 40'000'000, .hidden_ns = 30'000'000}}};
  EXPECT_EQ(report::communication_table(times, 4),
            "communication  operations         MB  in flight, ms  exposed, ms   hidden\n"
            "dp                    2.0       2.00          10.00         2.50    75.0%\n");
}

}  // namespace
}  // namespace triptych::test
