#include "training/rank_clock.h"

#include <sys/resource.h>

namespace triptych::training {
namespace {

// Of the process, in user and system mode.
double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

RankClock::RankClock(const World& world, int rank, const MeshCoordinate& place) : world_(&world) {
  sum_.rank = rank;
  sum_.host = world.host();
  sum_.place = fmt::format("pp {}, dp {}, cp {}, tp {}", place.pp, place.dp, place.cp, place.tp);
  start();
}

RankClock::Reading RankClock::now() const {
  return {.waited_s = world_->waited_s(), .cpu_s = cpu_seconds()};
}

void RankClock::add(const StepMetrics& line) {
  ++sum_.steps;
  sum_.steps_s += line.step_ms / 1e3;
  sum_.loader_wait_s += line.loader_wait_ms / 1e3;
  sum_.peer_wait_s += end_.waited_s - begin_.waited_s;
  sum_.cpu_s += end_.cpu_s - begin_.cpu_s;
  sum_.rss_mb = line.rss_mb;
  start();
}

std::vector<RankTime> RankClock::gather(Group& group, std::size_t peak_bytes) {
  sum_.pool_peak_mb = static_cast<double>(peak_bytes) / (1 << 20);
  std::vector<RankTime> ranks;
  for (const std::string& text : group.all_gather_string(to_text(sum_))) ranks.push_back(rank_time_from_text(text));
  return ranks;
}

}  // namespace triptych::training
