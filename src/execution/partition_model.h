#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"
#include "objectives/objective.h"
#include "parallel/pipeline/partition.h"

namespace triptych::execution {

/// The slots that objectives of one coupling read, or all, each once.
std::vector<std::string> slots_of(std::span<const ObjectiveSpec> objectives,
                                  std::optional<LossCoupling> coupling = std::nullopt);

/// Where to cut the blocks of a model into stages: in front of the blocks of these names, of which there is one a stage
/// but the first, in the model's order; without names by FLOPs, and by the cost of what crosses a cut on the way to
/// what the objectives read. Throws UserError if a name is of no block, their order is another, or their number.
Partition partition_model(const ModelSpec& model, std::span<const ObjectiveSpec> objectives, int num_stages,
                          std::span<const std::string> cuts = {});

/// By what each block costs instead of FLOPs, such as measured seconds, and without the cost of what crosses a cut.
///   costs    [num_blocks]
///   memory   that every stage must be within; see partition_blocks
Partition partition_model(const ModelSpec& model, std::span<const ObjectiveSpec> objectives, int num_stages,
                          std::span<const double> costs, const std::optional<StageMemory>& memory);

}  // namespace triptych::execution
