#include "data/pixel_reader.h"

namespace triptych::data {

void PixelReader::read(std::span<const std::byte> encoded, const ImageInfo& info, const Box& crop, uint32_t size,
                       std::span<uint8_t> out) {
  decoder_.decode(encoded, decode_reduction(crop, size), image_);
  resizer_.resize(image_, scale_box(crop, info.seen_width(), info.seen_height(), image_), size, out);
}

std::vector<uint8_t> read_center_square(std::span<const std::byte> encoded, uint32_t size) {
  const ImageInfo info = probe_image(encoded);
  std::vector<uint8_t> pixels(std::size_t{3} * size * size);
  PixelReader().read(encoded, info, center_square(info.seen_width(), info.seen_height()), size, pixels);
  return pixels;
}

}  // namespace triptych::data
