#pragma once

#include "models/model.h"
#include "parallel/pipeline/partition.h"

namespace triptych {

/// Where to cut the model: by forward and backward FLOPs, and the cost of what crosses a cut.
///
/// Throws UserError if the model has fewer blocks than stages.
Partition partition_model(const ModelSpec& model, int num_stages);

}  // namespace triptych
