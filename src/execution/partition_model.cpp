#include "execution/partition_model.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text.h"

namespace triptych::execution {
namespace {

// Bytes that cross a cut, as the FLOPs that the same time would do: a link moves a float in the time of some hundred
// operations. It only breaks ties between cuts of nearly equal work.
constexpr double kFlopsPerElementSent = 128;

Partition partition_at(const ModelSpec& model, int num_stages, std::span<const std::string> cuts) {
  constexpr const char* kWhere = "parallel.cuts";
  std::vector<std::string> names;
  for (const BlockSpec& block : model.blocks) names.push_back(block.name);
  if (cuts.size() + 1 != static_cast<std::size_t>(num_stages)) {
    throw UserError(kWhere, fmt::format("must name the first block of every stage but the first: {} stages, found {} "
                                        "names.",
                                        num_stages, cuts.size()));
  }
  Partition partition{.begin = {0}};
  for (const std::string& cut : cuts) {
    const auto found = std::find(names.begin(), names.end(), cut);
    if (found == names.end()) {
      const std::string near = nearest_word(cut, names);
      throw UserError(kWhere, fmt::format("must name blocks of the model, found \"{}\". {}", cut,
                                          near.empty() ? "`triptych plan stages` lists them."
                                                       : fmt::format("Did you mean {}?", near)));
    }
    const auto index = static_cast<int>(found - names.begin());
    if (index <= partition.begin.back()) {
      throw UserError(kWhere, fmt::format("must be in the model's order, behind its first block, found \"{}\" behind "
                                          "\"{}\". `triptych plan stages` lists them.",
                                          cut, names[static_cast<std::size_t>(partition.begin.back())]));
    }
    partition.begin.push_back(index);
  }
  partition.begin.push_back(static_cast<int>(names.size()));
  return partition;
}

// Blocks up to the last one that runs: a stage behind it would have nothing to do.
std::size_t num_used_blocks(const Route& route) {
  return static_cast<std::size_t>(std::find(route.runs.rbegin(), route.runs.rend(), true).base() - route.runs.begin());
}

}  // namespace

std::vector<std::string> slots_of(std::span<const ObjectiveSpec> objectives, std::optional<LossCoupling> coupling) {
  std::vector<std::string> names;
  for (const ObjectiveSpec& objective : objectives) {
    if (coupling && objective.coupling != *coupling) continue;
    for (const std::string& name : objective.slots) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

Partition partition_model(const ModelSpec& model, std::span<const ObjectiveSpec> objectives, int num_stages,
                          std::span<const std::string> cuts) {
  if (!cuts.empty()) return partition_at(model, num_stages, cuts);
  const Route route = route_to(model, slots_of(objectives));
  std::vector<double> costs, boundaries;
  const std::size_t num_used = num_used_blocks(route);
  double work = 0;
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    costs.push_back(model.blocks[i].forward_flops + model.blocks[i].backward_flops);
    work += costs.back();
    if (i + 1 == model.blocks.size()) break;
    double elements = 0;
    for (const Slot& slot : route.live[i + 1]) {
      double size = 1;
      for (const int64_t dim : slot.dims) size *= static_cast<double>(dim);
      elements += size;
    }
    boundaries.push_back(kFlopsPerElementSent * elements + (i + 1 < num_used ? 0 : work));
  }
  return partition_blocks(costs, num_stages, boundaries);
}

Partition partition_model(const ModelSpec& model, std::span<const ObjectiveSpec> objectives, int num_stages,
                          std::span<const double> costs, const std::optional<StageMemory>& memory) {
  TRIPTYCH_CHECK(costs.size() == model.blocks.size(), "{} costs of {} blocks", costs.size(), model.blocks.size());
  const std::size_t num_used = num_used_blocks(route_to(model, slots_of(objectives)));
  std::vector<double> boundaries(model.blocks.size() - 1, 0.0);
  const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
  for (std::size_t i = 0; i < boundaries.size(); ++i) boundaries[i] = i + 1 < num_used ? 0 : all;
  return partition_blocks(costs, num_stages, boundaries, memory);
}

}  // namespace triptych::execution
