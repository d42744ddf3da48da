#include "training/step_trace.h"

#include <limits>
#include <map>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "base/file.h"
#include "report/communication_times.h"
#include "report/trace_file.h"

namespace triptych::training {
namespace {

constexpr int kClockTag = 1, kTextTag = 2;

// How much this rank's clock is ahead of the first rank's: of a few questions and answers the one that took the least
// time. Both are one clock on one machine. Called by both at once.
int64_t clock_ahead(Group& group, int rank, bool is_one_machine) {
  if (is_one_machine) return 0;
  int64_t ahead = 0, least = std::numeric_limits<int64_t>::max();
  for (int round = 0; round < 8; ++round) {
    int64_t there = 0;
    if (group.rank() == rank) {
      group.recv(&there, 1, DType::kInt64, 0, kClockTag)->wait();
      there = Trace::now_ns();
      group.send(&there, 1, DType::kInt64, 0, kClockTag)->wait();
      continue;
    }
    const int64_t before = Trace::now_ns();
    group.send(&before, 1, DType::kInt64, rank, kClockTag)->wait();
    group.recv(&there, 1, DType::kInt64, rank, kClockTag)->wait();
    const int64_t after = Trace::now_ns();
    if (after - before >= least) continue;
    least = after - before;
    ahead = there - (before + (after - before) / 2);
  }
  return ahead;
}

// "compute 71.0 %, loader 1.0 %, wait dp 12.0 %", of the mean over the ranks.
std::string describe(const std::vector<std::map<std::string, int64_t>>& ranks) {
  std::map<std::string, double> sums;
  for (const std::map<std::string, int64_t>& times : ranks) {
    for (const auto& [part, time] : times) sums[part] += static_cast<double>(time);
  }
  const double all = sums["all"];
  if (all <= 0) return "";
  std::string text = fmt::format("compute {:.1f} %", 100 * sums["compute"] / all);
  for (const auto& [part, time] : sums) {
    if (part != "all" && part != "compute") text += fmt::format(", {} {:.1f} %", part, 100 * time / all);
  }
  return text;
}

}  // namespace

void StepTrace::require_within(int64_t first, int64_t last) const {
  if (request_.first == 0 || (request_.first >= first && request_.first <= last)) return;
  throw UserError("--trace-from", fmt::format("must be a step that is still to be trained, {} to {}, found {}.", first,
                                              last, request_.first));
}

void StepTrace::write(int64_t step, const std::filesystem::path& folder,
                      const std::function<void(const std::string&)>& say) {
  trace_.stop();
  Group& group = world_->group();
  const MeshCoordinate& place = mesh_->coordinate();
  const std::vector<std::string> hosts = group.all_gather_string(world_->host());
  const std::string label = fmt::format("rank {}, pp {}, dp {}, cp {}, tp {}, {}", group.rank(), place.pp, place.dp,
                                        place.cp, place.tp, world_->host());
  if (group.rank() > 0) {
    clock_ahead(group, group.rank(), hosts[0] == world_->host());
    int64_t ahead = 0;
    group.recv(&ahead, 1, DType::kInt64, 0, kClockTag)->wait();
    const std::string mine = report::trace_events(trace_, group.rank(), label, ahead);
    const auto length = static_cast<int64_t>(mine.size());
    group.send(&length, 1, DType::kInt64, 0, kTextTag)->wait();
    group.send(mine.data(), length, DType::kUInt8, 0, kTextTag)->wait();
  }
  std::string all{report::kTraceBegin};
  if (group.rank() == 0) all += report::trace_events(trace_, 0, label, 0);
  for (int rank = 1; group.rank() == 0 && rank < group.size(); ++rank) {
    const int64_t ahead = clock_ahead(group, rank, hosts[static_cast<std::size_t>(rank)] == world_->host());
    group.send(&ahead, 1, DType::kInt64, rank, kClockTag)->wait();
    int64_t length = 0;
    group.recv(&length, 1, DType::kInt64, rank, kTextTag)->wait();
    std::string theirs(static_cast<std::size_t>(length), ' ');
    group.recv(theirs.data(), length, DType::kUInt8, rank, kTextTag)->wait();
    all += ",\n" + theirs;
  }
  // The parts' times of all ranks, as the first one adds them up.
  std::string parts;
  for (const auto& [part, time] : report::times_by_part(trace_)) parts += fmt::format("{}\t{}\n", part, time);
  std::vector<std::map<std::string, int64_t>> times;
  for (const std::string& text : group.all_gather_string(parts)) {
    std::map<std::string, int64_t>& of_rank = times.emplace_back();
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t tab = text.find('\t', begin), end = text.find('\n', tab);
      of_rank[text.substr(begin, tab - begin)] = std::stoll(text.substr(tab + 1, end - tab - 1));
      begin = end + 1;
    }
  }
  // Spans of a GPU's host say nothing of what the GPU does meanwhile.
  std::map<std::string, report::CommunicationTimes> communication;
  if (backend_kind() == "cpu") {
    communication =
        report::sum_of_texts(group.all_gather_string(report::communication_text(report::communication_times(trace_))));
  }
  if (group.rank() != 0) return;
  const std::filesystem::path file = folder / fmt::format("trace_{}.json", request_.first);
  write_file_atomically(file, all + std::string(report::kTraceEnd));
  say(fmt::format("traced steps {} to {}, for chrome://tracing or ui.perfetto.dev: {}", request_.first, step,
                  file.string()));
  say(fmt::format("time of a rank, the mean of all: {}", describe(times)));
  if (communication.empty()) return;
  std::string table = report::communication_table(communication, group.size() * (step - request_.first + 1));
  table.pop_back();
  say("of a rank, a step:\n" + table);
}

}  // namespace triptych::training
