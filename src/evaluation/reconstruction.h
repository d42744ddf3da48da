#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/embeddings.h"

namespace triptych::evaluation {

/// How an image is cut into patches, and what a model says of each: see models/masked_image.h.
struct PatchLayout {
  int64_t size = 0, patch = 0;  ///< pixels a side of the image and of a patch
  bool normalize = true;        ///< whether values are relative to each patch's own mean and deviation
  PixelScale scale = {};        ///< of the pixels as the model sees them

  int64_t num_patches() const { return (size / patch) * (size / patch); }
  int64_t num_values() const { return 3 * patch * patch; }
};

/// How far reconstructions of masked patches are from their pixels, image by image, in double: for each masked patch
/// the mean over its values of the squared difference (He et al. 2022), then the mean over the patches. Not
/// thread-safe.
class ReconstructionCounter {
 public:
  explicit ReconstructionCounter(const PatchLayout& layout) : layout_(layout) {}

  /// Of an image: returns its own mean, 0 if no patch is masked.
  ///   pixels           uint8 [size, size, 3]
  ///   reconstruction   [P, 3 patch patch], the model's slot
  ///   masked           the patches that count; negative ones do not
  double add(std::span<const uint8_t> pixels, std::span<const float> reconstruction, std::span<const int32_t> masked);

  int64_t num_patches() const { return num_patches_; }
  /// 0 without patches.
  double error() const { return mean(sum_); }
  /// That of a model which gives every value of a patch the true patch's mean: with normalised patches 1 - 1 / N of
  /// each that is not of one value.
  double error_of_means() const { return mean(sum_of_means_); }
  /// That of one which gives every pixel of a patch the true patch's mean colour.
  double error_of_colors() const { return mean(sum_of_colors_); }

 private:
  double mean(double sum) const { return num_patches_ == 0 ? 0 : sum / static_cast<double>(num_patches_); }

  PatchLayout layout_;
  int64_t num_patches_ = 0;
  double sum_ = 0, sum_of_means_ = 0, sum_of_colors_ = 0;
};

/// The image with its masked patches in middle grey: what the model saw.
std::vector<uint8_t> hide_patches(const PatchLayout& layout, std::span<const uint8_t> pixels,
                                  std::span<const int32_t> masked);

/// The image with its masked patches as the model reconstructs them; where patches are normalised, with the mean and
/// the deviation of the true ones, which the model does not give.
std::vector<uint8_t> paint_patches(const PatchLayout& layout, std::span<const uint8_t> pixels,
                                   std::span<const float> reconstruction, std::span<const int32_t> masked);

}  // namespace triptych::evaluation
