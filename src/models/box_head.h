#pragma once

#include <string>

#include "nn/parameter_store.h"
#include "nn/pass.h"

namespace triptych::models {

/// Where the patches of a square image are, as boxes before their sigmoid, float32 [patches, 4]: each patch's centre,
/// and a third of the image's sides.
Tensor patch_places(Device& device, int64_t patches_a_side);

/// From states to boxes: Carion et al. 2020, section 3.2: three products, "<name>.0" to "<name>.2", with an activation
/// between them (here the exact GELU), and a sigmoid. All of it Replicate on `tp`.
class BoxHead {
 public:
  BoxHead(ParameterStore& store, const std::string& name, int64_t width);

  /// x [..., H] whole; returns float32 [..., 4]: center x, center y, width, height, as shares of the image's sides.
  ///   places   float32, added before the sigmoid: [..., 4], or the last dims of that
  Variable forward(const Variable& x, const Variable& places, const Pass& pass) const;

  /// Of the boxes of one state.
  static double forward_flops(int64_t width) { return 2.0 * static_cast<double>(width * (2 * width + 4)); }

 private:
  struct Product {
    Parameter *weight, *bias;
  };
  Product first_, second_, last_;
};

}  // namespace triptych::models
