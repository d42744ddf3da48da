#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "execution/placed_parameters.h"
#include "models/model.h"

namespace triptych::execution {

/// Where gradients go on a route, if only some blocks have parameters that are trained: no further down than to the
/// first of these. It is the same on every rank, so a stage knows what to send and what will come.
struct GradientFlow {
  /// [blocks + 1]: of the slots that are live there, in their order, those whose value a trained parameter shapes. Only
  /// these have gradients.
  std::vector<std::vector<Slot>> carried;
  /// Of matrix products for one sample's step, those of adapters among them. A product's backward has one part for its
  /// input and an equal one for its weight. A block has the first of all its products if one of its parameters is
  /// trained, or if it passes gradients on, and the second of those by trained matrices.
  double forward_flops = 0, backward_flops = 0;

  bool is_carried(std::size_t boundary, const std::string& slot) const;
};

/// What is trained of a block.
struct BlockTraining {
  bool is_trained = false;   ///< one of its parameters is
  double adapter_flops = 0;  ///< of a sample's products by adapters
  /// Of the gradients of weights: those of adapters, less those of frozen matrices, which the block's own count has.
  double weight_flops = 0;
};

/// [blocks]
std::vector<BlockTraining> block_trainings(const ModelSpec& model, std::span<const PlacedParameter> parameters,
                                           const std::function<bool(const std::string&)>& is_trained);

GradientFlow gradient_flow(const ModelSpec& model, const Route& route, std::span<const BlockTraining> trainings);

}  // namespace triptych::execution
