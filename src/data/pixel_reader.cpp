#include "data/pixel_reader.h"

namespace triptych::data {

void PixelReader::read(std::span<const std::byte> encoded, const ImageInfo& info, const Box& crop, uint32_t size,
                       std::span<uint8_t> out, PictureOptions::Filter filter) {
  const unsigned reduction = filter == PictureOptions::Filter::kCubic ? 1 : decode_reduction(crop, size);
  decoder_.decode(encoded, reduction, image_);
  resizer_.resize(image_, scale_box(crop, info.seen_width(), info.seen_height(), image_), size, out, filter);
}

std::vector<uint8_t> read_for_evaluation(std::span<const std::byte> encoded, uint32_t size,
                                         const PictureOptions& options) {
  const ImageInfo info = probe_image(encoded);
  std::vector<uint8_t> pixels(std::size_t{3} * size * size);
  const Box box = evaluation_box(options, info.seen_width(), info.seen_height());
  PixelReader().read(encoded, info, box, size, pixels, options.filter);
  return pixels;
}

}  // namespace triptych::data
