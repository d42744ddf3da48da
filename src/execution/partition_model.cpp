#include "execution/partition_model.h"

#include <algorithm>

namespace triptych::execution {
namespace {

// Bytes that cross a cut, as the FLOPs that the same time would do: a link moves a float in the time of some hundred
// operations. It only breaks ties between cuts of nearly equal work.
constexpr double kFlopsPerElementSent = 128;

}  // namespace

Partition partition_model(const ModelSpec& model, const Route& route, int num_stages) {
  std::vector<double> costs, boundaries;
  // A stage behind the last block that runs would have nothing to do.
  const std::size_t num_used =
      static_cast<std::size_t>(std::find(route.runs.rbegin(), route.runs.rend(), true).base() - route.runs.begin());
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

}  // namespace triptych::execution
