#include "report/trace_file.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace triptych::test {
namespace {

using report::times_by_part;
using report::trace_events;
using Json = nlohmann::json;

Trace two_steps() {
  Trace trace;
  trace.start();
  const auto work = [&](const char* kind, const char* name, int64_t begin, int64_t end) {
    trace.add({.kind = kind, .name = name, .begin_ns = begin, .end_ns = end});
  };
  work("loader", "the next batch", 1'000, 3'000);
  work("schedule", "F0@0", 3'000, 9'000);
  trace.add({.track = Trace::Track::kInFlight,
             .kind = "dp[pp=0]",
             .name = "all_reduce(sum, float32 x 2)",
             .details = "8 bytes, number 7",
             .begin_ns = 4'000,
             .end_ns = 11'500});
  work("wait", "dp[pp=0]: all_reduce(sum, float32 x 2)", 9'000, 12'000);
  work("step", "step \"1\"", 1'000, 13'000);
  work("wait", "pp: recv", 13'000, 14'000);
  work("step", "step 2", 13'000, 15'000);
  return trace;
}

TEST(TraceFile, HasAnEventForEverySpanOnOneClock) {
  const Trace trace = two_steps();
  const std::string text = std::string(report::kTraceBegin) + trace_events(trace, 0, "rank 0", 0) + "," +
                           trace_events(trace, 3, "rank 3, host \"b\"", 1'000) + std::string(report::kTraceEnd);
  const Json events = Json::parse(text).at("traceEvents");
  std::vector<Json> of_rank_3;
  for (const Json& event : events) {
    if (event.at("pid") == 3) of_rank_3.push_back(event);
  }
  ASSERT_EQ(events.size(), 2 * of_rank_3.size());
  ASSERT_EQ(of_rank_3.size(), 3u + 6 + 2);
  EXPECT_EQ(of_rank_3[0].at("args").at("name"), "rank 3, host \"b\"");
  const Json& forward = of_rank_3[4];
  EXPECT_EQ(forward.at("ph"), "X");
  EXPECT_EQ(forward.at("name"), "F0@0");
  EXPECT_EQ(forward.at("cat"), "schedule");
  EXPECT_EQ(forward.at("ts"), 2.0);  // microseconds, on the first rank's clock
  EXPECT_EQ(forward.at("dur"), 6.0);
  const Json &begin = of_rank_3[5], &end = of_rank_3[6];
  EXPECT_EQ(begin.at("ph"), "b");
  EXPECT_EQ(begin.at("ts"), 3.0);
  EXPECT_EQ(begin.at("args").at("details"), "8 bytes, number 7");
  EXPECT_EQ(end.at("ph"), "e");
  EXPECT_EQ(end.at("ts"), 10.5);
  EXPECT_EQ(begin.at("id2"), end.at("id2"));
  EXPECT_EQ(begin.at("cat"), end.at("cat"));
}

TEST(TraceFile, TimesAreOfThePartsThatHaveAName) {
  const std::map<std::string, int64_t> expected{
      {"all", 14'000}, {"compute", 8'000}, {"loader", 2'000}, {"wait dp", 3'000}, {"wait pp", 1'000}};
  EXPECT_EQ(times_by_part(two_steps()), expected);
}

TEST(TraceFile, ATimeIsOfTheInnermostPart) {
  Trace trace;
  trace.start();
  const auto work = [&](const char* kind, const char* name, int64_t begin, int64_t end) {
    trace.add({.kind = kind, .name = name, .begin_ns = begin, .end_ns = end});
  };
  work("start", "dp[pp=0]: all_reduce(x)", 10, 13);
  work("poll", "reductions", 9, 15);
  work("poll", "reductions", 20, 21);
  work("backward", "linear", 5, 30);  // no part: of the step
  work("start", "all ranks: all_reduce(x)", 41, 43);
  work("wait", "all ranks: all_reduce(x)", 43, 48);
  work("optimizer", "the update", 40, 60);
  work("step", "step 1", 0, 100);
  const std::map<std::string, int64_t> expected{{"all", 100},
                                                {"start dp", 3},
                                                {"poll", 3 + 1},
                                                {"start all ranks", 2},
                                                {"wait all ranks", 5},
                                                {"optimizer", 13},
                                                {"compute", 100 - 3 - 4 - 2 - 5 - 13}};
  EXPECT_EQ(times_by_part(trace), expected);
}

// Work that tells when it has ended began when what was seen last had.
TEST(TraceFile, WorkThatTellsOfItsEndAloneIsOneSpanAfterTheOther) {
  Trace trace;
  int64_t now = 10;
  trace.set_clock([&] { return now; });
  const auto expect_last = [&](const std::string& name, int64_t begin, int64_t end) {
    const Trace::Span& span = trace.spans().back();
    EXPECT_EQ(span.kind, "forward");
    EXPECT_EQ(span.name, name);
    EXPECT_EQ(span.begin_ns, begin);
    EXPECT_EQ(span.end_ns, end);
  };
  trace.add_since_last("forward", "before it is on");
  trace.start();
  now = 12;
  {
    const TraceScope block(&trace, "block", [] { return std::string("b"); });
    now = 15;
    trace.add_since_last("forward", "linear");
    expect_last("linear", 12, 15);
    now = 16;
    {
      const TraceScope wait(&trace, "wait", [] { return std::string("w"); });
      now = 18;
    }
    now = 21;
    trace.add_since_last("forward", "attention");
    expect_last("attention", 18, 21);
    now = 22;
  }
  now = 30;
  trace.add_since_last("forward", "add");
  expect_last("add", 22, 30);
  EXPECT_EQ(trace.spans().size(), 5u);
}

// What is told to begin ends, innermost first, whenever the trace is switched on and off.
TEST(TraceFile, AListenerIsToldOfBeginAndEndInPairs) {
  struct Listener : TraceListener {
    void begin(const std::string& name) override {
      open.push_back(name);
      seen += name;
    }
    void end() override {
      ASSERT_FALSE(open.empty());
      seen += "/" + open.back();
      open.pop_back();
    }
    std::vector<std::string> open;
    std::string seen;
  } listener;
  Trace trace;
  trace.set_listener(&listener);
  const auto scope = [&](const std::string& name) { return TraceScope(&trace, "block", [&] { return name; }); };
  {
    const TraceScope off = scope("off");
    trace.start();
    const TraceScope a = scope("a");
    { const TraceScope b = scope("b"); }
    trace.add_since_last("forward", "told at its end");
    const TraceScope c = scope("c");
    trace.stop();
    const TraceScope d = scope("d");
  }
  EXPECT_EQ(listener.seen, "ab/bc/c/a");
  EXPECT_TRUE(listener.open.empty());
}

TEST(TraceFile, NothingIsSeenWhileTheTraceIsOff) {
  Trace trace;
  bool named = false;
  const auto name = [&] {
    named = true;
    return std::string("x");
  };
  {
    const TraceScope off(&trace, "step", name);
    const TraceScope none(nullptr, "step", name);
  }
  EXPECT_TRUE(trace.spans().empty());
  EXPECT_FALSE(named);
  trace.start();
  { const TraceScope on(&trace, "step", name); }
  ASSERT_EQ(trace.spans().size(), 1u);
  EXPECT_LE(trace.spans()[0].begin_ns, trace.spans()[0].end_ns);
  trace.start();
  EXPECT_TRUE(trace.spans().empty());
}

}  // namespace
}  // namespace triptych::test
