#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/shape.h"
#include "training/run_config.h"

namespace triptych::training {

/// A parameter as it stands in a checkpoint.
struct ListedParameter {
  std::string name;
  Shape shape;  ///< of the whole of it
};

/// The parameters of a run's model, its adapters and its objectives, in the order in which they are made; a tied one
/// once. Takes no memory for their values, so that those of a model of any size can be counted.
std::vector<ListedParameter> list_parameters(const RunConfig& config);

/// How many numbers they hold together.
int64_t count_elements(const std::vector<ListedParameter>& parameters);

}  // namespace triptych::training
