#pragma once

#include <cstdint>

#include "data/field_source.h"
#include "data/transforms.h"

namespace triptych::data {

/// Throws UserError if a side of the square that rows show is not 1 to 8192 pixels, or listing what is wrong with
/// `options`.
void check_seen_square(int64_t image_size, const AugmentOptions& options);

/// What is done to the image of a sample before its row shows it; whatever else a row says about places in the image
/// goes through the same. In a training, what draw_augmentation draws by the row's (seed, position); in an evaluation,
/// evaluation_box.
///   width, height   of the image as it is seen
Augmentation row_augmentation(const LoadedSample& sample, const AugmentOptions& options, uint32_t width,
                              uint32_t height);

}  // namespace triptych::data
