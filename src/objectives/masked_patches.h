#pragma once

#include <string>
#include <vector>

#include "nn/embeddings.h"
#include "objectives/objective.h"

namespace triptych::objectives {

/// He et al. 2022, section 3: how far a reconstruction is from the pixels of the masked patches; split: over the masked
/// patches of the global batch the mean of (the mean over a patch's values of the squared difference).
///
/// Reads the slot "reconstruction" (models/masked_image.h) and the fields "pixels" and "masked_patches", of which only
/// the patches that are not negative count.
struct MaskedPatchesConfig {
  int64_t patch = 0;      ///< pixels a side
  PixelScale scale;       ///< as the encoder's
  bool normalize = true;  ///< each patch by its own mean and variance
  double weight = 1;      ///< in the run's loss
  /// Fields of presence: an image that is not there has no patches.
  std::vector<std::string> needs = {};
};
ObjectiveSpec masked_patches_objective(const MaskedPatchesConfig& config);

}  // namespace triptych::objectives
