#pragma once

#include <span>
#include <string>
#include <vector>

#include "parallel/mesh.h"

namespace triptych::parallel {

/// "rank 0", "ranks 0-2, 5".
std::string ranks_text(std::span<const int> ranks);

/// Which ranks share a machine.
class Machines {
 public:
  /// By world rank: a number that the ranks of one machine have in common, and the machine's name.
  Machines(std::span<const int> numbers, const std::vector<std::string>& hosts);

  /// In the order of their first ranks.
  int count() const { return static_cast<int>(ranks_.size()); }
  const std::string& host(int machine) const { return hosts_[static_cast<std::size_t>(machine)]; }
  const std::vector<int>& ranks(int machine) const { return ranks_[static_cast<std::size_t>(machine)]; }
  /// Of each world rank, from 0.
  const std::vector<int>& of_ranks() const { return of_ranks_; }
  /// "ranks 0-1 on n1, ranks 2-3 on n2"; of many the first eight.
  std::string to_string() const;

 private:
  std::vector<std::string> hosts_;
  std::vector<std::vector<int>> ranks_;
  std::vector<int> of_ranks_;
};

/// What is to be said of ranks that lie on their machines in an order which makes tp or cp groups span several
/// although, machine by machine, fewer would: `[placement] the rule, the values. What to do`. Empty if the order is
/// good.
std::string placement_warning(const MeshShape& shape, const Machines& machines);

}  // namespace triptych::parallel
