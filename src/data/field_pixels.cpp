#include <algorithm>

#include "base/error.h"
#include "base/philox.h"
#include "data/field_sources.h"
#include "data/pixel_reader.h"
#include "data/row_augmentation.h"

namespace triptych::data {
namespace {

class PixelsFiller : public RowFiller {
 public:
  PixelsFiller(uint32_t size, const AugmentOptions& augment) : size_(size), augment_(augment) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    const std::span<uint8_t> out = values_of<uint8_t>(rows[0]);
    if (!sample.has_image) {
      clear(rows);
      return;
    }
    const std::span<const std::byte> encoded = sample.bytes.image;
    const ImageInfo info = probe_image(encoded);
    const Augmentation augmentation = row_augmentation(sample, augment_, info.seen_width(), info.seen_height());
    reader_.read(encoded, info, augmentation.crop, size_, out, augment_.picture.filter);
    apply_augmentation(augmentation, size_, out);
  }

  void clear(FieldRows rows) override { std::ranges::fill(rows[0], std::byte{0}); }

 private:
  uint32_t size_;
  AugmentOptions augment_;
  PixelReader reader_;
};

void synthesize_pixels(uint64_t seed, int64_t global_row, FieldRows rows) {
  const std::span<uint8_t> out = values_of<uint8_t>(rows[0]);
  const RandomKey key = random_key(seed, "synthetic/pixels", 0);
  const uint64_t first = static_cast<uint64_t>(global_row) * out.size();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(philox_word(key, first + i) >> 24);
}

}  // namespace

FieldSource pixels_field(int64_t image_size, const AugmentOptions& augment) {
  check_seen_square(image_size, augment);
  return {.fields = {{.name = "pixels", .dtype = DType::kUInt8, .dims = {image_size, image_size, 3}}},
          .reads = SampleParts::kImage,
          .make = [=] { return std::make_unique<PixelsFiller>(static_cast<uint32_t>(image_size), augment); },
          .synthesize = synthesize_pixels};
}

}  // namespace triptych::data
