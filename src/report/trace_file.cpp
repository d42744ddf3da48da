#include "report/trace_file.h"

#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace triptych::report {
namespace {

// Their unit is the microsecond, with decimals.
double microseconds(int64_t ns) {
  return static_cast<double>(ns) / 1e3;
}

// "tp" of "tp[pp=0,dp=1]".
std::string_view kind_of_group(std::string_view name) {
  return name.substr(0, name.find_first_of("[:"));
}

}  // namespace

std::string trace_events(const Trace& trace, int rank, std::string_view label, int64_t clock_offset_ns) {
  using Json = nlohmann::json;
  std::string text = Json{{"ph", "M"}, {"name", "process_name"}, {"pid", rank}, {"args", {{"name", label}}}}.dump();
  const auto add = [&](Json event) {
    event["pid"] = rank;
    event["tid"] = 0;
    text += ",\n" + event.dump();
  };
  add({{"ph", "M"}, {"name", "process_sort_index"}, {"args", {{"sort_index", rank}}}});
  add({{"ph", "M"}, {"name", "thread_name"}, {"args", {{"name", "work"}}}});
  int64_t number = 0;  // tells operations apart that are in flight at once
  for (const Trace::Span& span : trace.spans()) {
    const int64_t begin = span.begin_ns - clock_offset_ns;
    Json event{{"name", span.name}, {"cat", span.kind}, {"ts", microseconds(begin)}};
    if (!span.details.empty()) event["args"] = {{"details", span.details}};
    if (span.track == Trace::Track::kWork) {
      event["ph"] = "X";
      event["dur"] = microseconds(span.end_ns - span.begin_ns);
      add(std::move(event));
      continue;
    }
    event["id2"] = {{"local", fmt::format("{}", number++)}};
    event["ph"] = "b";
    Json end = event;
    add(std::move(event));
    end["ph"] = "e";
    end["ts"] = microseconds(begin + span.end_ns - span.begin_ns);
    end.erase("args");
    add(std::move(end));
  }
  return text;
}

std::map<std::string, int64_t> times_by_part(const Trace& trace) {
  const auto part_of = [](const Trace::Span& span) -> std::string {
    if (span.track != Trace::Track::kWork) return "";
    if (span.kind == "step") return "compute";
    if (span.kind == "wait" || span.kind == "start") return fmt::format("{} {}", span.kind, kind_of_group(span.name));
    return span.kind == "loader" || span.kind == "optimizer" || span.kind == "save" || span.kind == "poll" ? span.kind
                                                                                                           : "";
  };
  // A span's time is of its part but for that of spans within it, which end before it does and so stand before it.
  struct Seen {
    int64_t begin_ns, duration_ns;
  };
  std::vector<Seen> within;  // that none of the spans so far has around it
  std::map<std::string, int64_t> times;
  for (const Trace::Span& span : trace.spans()) {
    const std::string part = part_of(span);
    if (part.empty()) continue;
    const int64_t duration = span.end_ns - span.begin_ns;
    int64_t own = duration;
    for (; !within.empty() && within.back().begin_ns >= span.begin_ns; within.pop_back()) {
      own -= within.back().duration_ns;
    }
    within.push_back({span.begin_ns, duration});
    times[part] += own;
    if (span.kind == "step") times["all"] += duration;
  }
  return times;
}

}  // namespace triptych::report
