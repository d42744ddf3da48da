#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/model.h"

namespace triptych::execution {

/// Where gradients go on a route, if only some blocks have parameters that are trained: no further down than to the
/// first of these. It is the same on every rank, so a stage knows what to send and what will come.
struct GradientFlow {
  /// [blocks + 1]: of the slots that are live there, in their order, those whose value a trained parameter shapes. Only
  /// these have gradients.
  std::vector<std::vector<Slot>> carried;
  /// Of matrix products for one sample's step. The backward of a block counts whole if one of its parameters is
  /// trained, by half if it only passes gradients on, since a product's has one part for its weight and an equal one
  /// for its input, and nothing if it does neither.
  double forward_flops = 0, backward_flops = 0;

  bool is_carried(std::size_t boundary, const std::string& slot) const;
};

/// `is_trained(i)`: whether block i has a parameter that is trained.
GradientFlow gradient_flow(const ModelSpec& model, const Route& route,
                           const std::function<bool(std::size_t)>& is_trained);

}  // namespace triptych::execution
