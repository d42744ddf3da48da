#pragma once

#include "objectives/objective.h"

namespace triptych::objectives {

/// Whether an image and a text belong together (Li et al. 2021, ALBEF; before it Lu et al. 2019, ViLBERT), split: the
/// mean cross-entropy over the pairs of the global batch, of which some were given another's image.
///
///   slot    "matching_scores", float32 [B, 2]: number 1 says that they do
///   fields  "image_present", "text_present", "matched"
///   group   of the model that mismatches pairs (models/aligner.h)
ObjectiveSpec matching_objective(int64_t group, double weight = 1);

}  // namespace triptych::objectives
