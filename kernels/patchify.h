#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

struct PatchifyArgs {
  const uint8_t* pixels = nullptr;  ///< [batch, image_size, image_size, 3]
  void* patches = nullptr;          ///< dtype [batch, (image_size / patch_size)^2, 3 * patch_size^2]
  int64_t batch = 0;
  int64_t image_size = 0;  ///< a multiple of patch_size
  int64_t patch_size = 0;
  std::array<float, 3> mean{};  ///< per channel, of values in [0, 1]
  std::array<float, 3> std{1, 1, 1};
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// Cuts images into patches, row by row of the image, each value (pixel / 255 - mean[c]) / std[c]. Within a patch the
/// elements are in the order (c, y, x), that of a convolution's weight [hidden, 3, patch, patch] (CLIP, SigLIP and ViT
/// checkpoints), so that such a weight, flattened, is the patch embedding's matrix.
void patchify(Stream& stream, const PatchifyArgs& args);

}  // namespace triptych::kernels
