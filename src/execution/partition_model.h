#pragma once

#include "models/model.h"
#include "parallel/pipeline/partition.h"

namespace triptych::execution {

/// Where to cut the blocks of a model into stages: by their FLOPs, and the cost of what crosses a cut on the way to the
/// model's outputs.
Partition partition_model(const ModelSpec& model, const Route& route, int num_stages);

}  // namespace triptych::execution
