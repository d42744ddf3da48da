#include "report/communication_times.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>
#include <vector>

#include <fmt/core.h>

namespace triptych::report {
namespace {

struct Interval {
  int64_t begin, end;
};
/// In order, apart from each other.
using Intervals = std::vector<Interval>;

Intervals merged(Intervals intervals) {
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  Intervals result;
  for (const Interval& one : intervals) {
    if (one.end <= one.begin) continue;
    if (!result.empty() && one.begin <= result.back().end) {
      result.back().end = std::max(result.back().end, one.end);
    } else {
      result.push_back(one);
    }
  }
  return result;
}

Intervals common(const Intervals& a, const Intervals& b) {
  Intervals result;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const int64_t begin = std::max(a[i].begin, b[j].begin), end = std::min(a[i].end, b[j].end);
    if (begin < end) result.push_back({begin, end});
    ++(a[i].end < b[j].end ? i : j);
  }
  return result;
}

int64_t length(const Intervals& intervals) {
  int64_t sum = 0;
  for (const Interval& one : intervals) sum += one.end - one.begin;
  return sum;
}

bool is_computing(const Trace::Span& span) {
  return span.kind != "start" && span.kind != "wait" && span.kind != "poll" && span.kind != "loader";
}

// "12 bytes, number 7", as parallel/traced_pending.cpp has it.
int64_t bytes_of(const Trace::Span& span) {
  int64_t bytes = 0;
  std::from_chars(span.details.data(), span.details.data() + span.details.size(), bytes);
  return bytes;
}

// "dp" of "dp[pp=0]", "all_reduce" of "all_reduce(sum, float32 x 7)".
std::string up_to(const std::string& text, char mark) {
  return text.substr(0, text.find(mark));
}

}  // namespace

double CommunicationTimes::hidden_share() const {
  return in_flight_ns > 0 ? static_cast<double>(hidden_ns) / static_cast<double>(in_flight_ns) : 1;
}

CommunicationTimes& CommunicationTimes::operator+=(const CommunicationTimes& other) {
  num_operations += other.num_operations;
  bytes += other.bytes;
  in_flight_ns += other.in_flight_ns;
  hidden_ns += other.hidden_ns;
  return *this;
}

std::map<std::string, CommunicationTimes> communication_times(const Trace& trace) {
  Intervals steps, others;
  for (const Trace::Span& span : trace.spans()) {
    if (span.track != Trace::Track::kWork) continue;
    if (span.kind == "step") steps.push_back({span.begin_ns, span.end_ns});
    if (!is_computing(span)) others.push_back({span.begin_ns, span.end_ns});
  }
  steps = merged(std::move(steps));
  others = merged(std::move(others));

  std::map<std::string, CommunicationTimes> times;
  std::map<std::string, Intervals> in_flight;
  for (const Trace::Span& span : trace.spans()) {
    if (span.track != Trace::Track::kInFlight) continue;
    const auto step = std::find_if(steps.begin(), steps.end(), [&](const Interval& one) {
      return span.begin_ns >= one.begin && span.begin_ns < one.end;
    });
    if (step == steps.end()) continue;
    const std::string group = up_to(span.kind, '[');
    for (const std::string& kind : {group, group + ' ' + up_to(span.name, '(')}) {
      CommunicationTimes& of_kind = times[kind];
      ++of_kind.num_operations;
      of_kind.bytes += bytes_of(span);
      in_flight[kind].push_back({span.begin_ns, span.end_ns});
    }
  }
  for (auto& [kind, intervals] : in_flight) {
    const Intervals within = common(merged(std::move(intervals)), steps);
    CommunicationTimes& of_kind = times[kind];
    of_kind.in_flight_ns = length(within);
    of_kind.hidden_ns = of_kind.in_flight_ns - length(common(within, others));
  }
  return times;
}

std::string communication_text(const std::map<std::string, CommunicationTimes>& times) {
  std::string text;
  for (const auto& [kind, of_kind] : times) {
    text += fmt::format("{} {} {} {} {}\n", of_kind.num_operations, of_kind.bytes, of_kind.in_flight_ns,
                        of_kind.hidden_ns, kind);
  }
  return text;
}

std::map<std::string, CommunicationTimes> sum_of_texts(const std::vector<std::string>& texts) {
  std::map<std::string, CommunicationTimes> sums;
  for (const std::string& text : texts) {
    std::istringstream lines(text);
    CommunicationTimes of_kind;
    std::string kind;
    while (lines >> of_kind.num_operations >> of_kind.bytes >> of_kind.in_flight_ns >> of_kind.hidden_ns >> std::ws &&
           std::getline(lines, kind)) {
      sums[kind] += of_kind;
    }
  }
  return sums;
}

std::string communication_table(const std::map<std::string, CommunicationTimes>& sums, int64_t num) {
  std::size_t width = 13;
  for (const auto& [kind, of_kind] : sums) width = std::max(width, kind.size());
  const auto share = 1.0 / static_cast<double>(num);
  std::string text = fmt::format("{:<{}}  {:>10}  {:>9}  {:>13}  {:>11}  {:>7}\n", "communication", width, "operations",
                                 "MB", "in flight, ms", "exposed, ms", "hidden");
  for (const auto& [kind, of_kind] : sums) {
    text += fmt::format("{:<{}}  {:>10.1f}  {:>9.2f}  {:>13.2f}  {:>11.2f}  {:>6.1f}%\n", kind, width,
                        share * static_cast<double>(of_kind.num_operations),
                        share * static_cast<double>(of_kind.bytes) / (1 << 20),
                        share * static_cast<double>(of_kind.in_flight_ns) / 1e6,
                        share * static_cast<double>(of_kind.exposed_ns()) / 1e6, 100 * of_kind.hidden_share());
  }
  return text;
}

}  // namespace triptych::report
