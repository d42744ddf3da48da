#include "parallel/machines.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <fmt/core.h>

namespace triptych::parallel {
namespace {

constexpr std::size_t kMostListed = 8;

// How many groups of the axis have ranks on more than one machine.
int num_spanning(const MeshShape& shape, Axis axis, std::span<const int> machine_of) {
  std::map<std::tuple<int, int, int>, std::set<int>> machines;  // of a group, which its other coordinates name
  for (std::size_t rank = 0; rank < machine_of.size(); ++rank) {
    const MeshCoordinate at = mesh_coordinate(shape, static_cast<int>(rank));
    machines[{at.pp, at.dp, axis == Axis::kTp ? at.cp : at.tp}].insert(machine_of[rank]);
  }
  return static_cast<int>(
      std::count_if(machines.begin(), machines.end(), [](const auto& group) { return group.second.size() > 1; }));
}

}  // namespace

std::string ranks_text(std::span<const int> ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += fmt::format("{}{}", i == 0 ? "" : ", ", ranks[i]);
    if (end > i + 1) text += fmt::format("-{}", ranks[end - 1]);
    i = end;
  }
  return text;
}

Machines::Machines(std::span<const int> numbers, const std::vector<std::string>& hosts) {
  std::map<int, int> known;
  for (std::size_t rank = 0; rank < numbers.size(); ++rank) {
    const auto [found, is_new] = known.emplace(numbers[rank], count());
    if (is_new) {
      hosts_.push_back(hosts[rank]);
      ranks_.emplace_back();
    }
    of_ranks_.push_back(found->second);
    ranks_[static_cast<std::size_t>(found->second)].push_back(static_cast<int>(rank));
  }
}

std::string Machines::to_string() const {
  std::string text;
  for (std::size_t i = 0; i < std::min(hosts_.size(), kMostListed); ++i) {
    text += fmt::format("{}{} on {}", i == 0 ? "" : ", ", ranks_text(ranks_[i]), hosts_[i]);
  }
  if (hosts_.size() > kMostListed) text += fmt::format(" and so on, {} machines in all", hosts_.size());
  return text;
}

std::string placement_warning(const MeshShape& shape, const Machines& machines) {
  std::vector<int> in_order = machines.of_ranks();
  std::sort(in_order.begin(), in_order.end());
  for (const Axis axis : {Axis::kTp, Axis::kCp}) {
    const int now = num_spanning(shape, axis, machines.of_ranks());
    const int best = num_spanning(shape, axis, in_order);
    if (now <= best) continue;
    return fmt::format(
        "[placement] the ranks of a {0} group should share a machine: {1} of {2} groups are on several, where ranks "
        "that "
        "fill one machine after the other would leave {3}; found {4}. It works, but {0} then goes over the network: "
        "start "
        "them with run-ranks --hosts, mpirun --map-by slot or Slurm's --distribution=block",
        axis_name(axis), now, static_cast<int>(in_order.size()) / shape.size(axis), best, machines.to_string());
  }
  return {};
}

}  // namespace triptych::parallel
