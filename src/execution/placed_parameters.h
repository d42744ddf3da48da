#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nn/parameter_store.h"
#include "parallel/group.h"

namespace triptych::execution {

/// A parameter and the block that has it, whichever rank holds that.
struct PlacedParameter {
  std::string name;
  std::size_t block = 0;     ///< its number in the model; the number of blocks: an objective has it
  int64_t num_products = 0;  ///< multiplications of one vector by it; 0: it is no matrix of ops::linear
};

/// What a rank of the pipeline has of the model: a block's number and its parameters.
struct BlockParameters {
  std::size_t block = 0;
  std::vector<Parameter*> parameters;
};

/// Those of all stages, in the order of the blocks; a tied one once for each block that has it. Collective.
std::vector<PlacedParameter> gather_parameters(Group& pipeline, std::span<const BlockParameters> mine,
                                               const ParameterStore& store);

}  // namespace triptych::execution
