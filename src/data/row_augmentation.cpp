#include "data/row_augmentation.h"

#include "base/error.h"

namespace triptych::data {

void check_seen_square(int64_t image_size, const AugmentOptions& options) {
  if (image_size < 1 || image_size > 8192) {
    throw UserError("pixels",
                    fmt::format("the image size must be 1 to 8192, found {}. Correct the configuration.", image_size));
  }
  check_augment_options(options);
}

Augmentation row_augmentation(const LoadedSample& sample, const AugmentOptions& options, uint32_t width,
                              uint32_t height) {
  if (sample.training) return draw_augmentation(options, sample.seed, sample.position, width, height);
  Augmentation augmentation;
  augmentation.crop = evaluation_box(options.picture, width, height);
  return augmentation;
}

}  // namespace triptych::data
