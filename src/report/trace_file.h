#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/trace.h"

namespace triptych::report {

/// A rank's spans as events of Chrome's trace format, separated by commas: what chrome://tracing and ui.perfetto.dev
/// open once `kTraceBegin` stands in front of those of all ranks, commas between them, and `kTraceEnd` behind. A rank
/// is a process there; its work is one thread, and each group a track of its own. Source: Trace Event Format, Google
/// 2016.
///
///   label            of the rank: "rank 3, pp 1, dp 0, tp 1, host a"
///   clock_offset_ns  how much the rank's clock is ahead of the first rank's
std::string trace_events(const Trace& trace, int rank, std::string_view label, int64_t clock_offset_ns);

inline constexpr std::string_view kTraceBegin = R"({"displayTimeUnit":"ms","traceEvents":[)";
inline constexpr std::string_view kTraceEnd = "]}\n";

/// Where the time of a rank's steps goes, in ns, by part: "loader", "optimizer", "save"; "start tp", "wait tp" and the
/// like, the starts of operations and the waits for them, by the kind of their group; "poll", the moves of data between
/// operations of the model; and the rest of the steps, "compute". "all" is the steps, and the sum of the parts within
/// them: a part has no time of one that lies in it.
std::map<std::string, int64_t> times_by_part(const Trace& trace);

}  // namespace triptych::report
