#include "execution/placed_parameters.h"

#include <algorithm>
#include <sstream>

namespace triptych::execution {

std::vector<PlacedParameter> gather_parameters(Group& pipeline, std::span<const BlockParameters> mine,
                                               const ParameterStore& store) {
  std::string lines;  // no name has a space
  for (const BlockParameters& block : mine) {
    for (const Parameter* parameter : block.parameters) {
      const int64_t num_products = store.is_linear(*parameter) ? parameter->global_shape.num_elements() : 0;
      lines += fmt::format("{} {} {}\n", block.block, parameter->name, num_products);
    }
  }
  std::vector<PlacedParameter> all;
  for (const std::string& of_rank : pipeline.all_gather_string(lines)) {
    std::istringstream words(of_rank);
    PlacedParameter one;
    while (words >> one.block >> one.name >> one.num_products) all.push_back(one);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const PlacedParameter& a, const PlacedParameter& b) { return a.block < b.block; });
  return all;
}

}  // namespace triptych::execution
