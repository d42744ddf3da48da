#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/transforms.h"

namespace triptych::data {

/// Reads boxes of encoded images at a fixed size. Keeps its buffers between calls. One thread at a time.
class PixelReader {
 public:
  /// out[size, size, 3] = `crop` of the image as it is seen. Throws WorldError as decoding does.
  void read(std::span<const std::byte> encoded, const ImageInfo& info, const Box& crop, uint32_t size,
            std::span<uint8_t> out, PictureOptions::Filter filter = PictureOptions::Filter::kLinear);

 private:
  ImageDecoder decoder_;
  Image image_;
  Resizer resizer_;
};

/// What evaluation sees of an encoded image, [size, size, 3]. Throws WorldError as decoding does.
std::vector<uint8_t> read_for_evaluation(std::span<const std::byte> encoded, uint32_t size,
                                         const PictureOptions& options);

}  // namespace triptych::data
