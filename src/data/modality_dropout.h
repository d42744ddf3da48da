#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace triptych::data {

/// The share of a training's rows that hide a part of their sample, so that a model learns to do without it. A row
/// hides at most one part, and only where the sample has both: what is left is never nothing.
struct ModalityDropout {
  double image = 0;  ///< share of the samples with both whose image is hidden
  double text = 0;   ///< share whose caption is hidden
};

/// Throws UserError unless both shares are 0 to 1 and their sum is at most 1.
void check_modality_dropout(const ModalityDropout& dropout);

/// Which parts of a sample, its image and its texts of a role, the row at `position` of the training stream shows: what
/// the sample has, or one part less. Drawn from Philox by (seed, "modality dropout", position) alone, so alike on every
/// rank of any mesh, and anew in each epoch.
SampleParts shown_parts(const SampleRecord& record, const ModalityDropout& dropout, uint64_t seed, uint64_t position,
                        TextRole role = TextRole::kCaption);

}  // namespace triptych::data
