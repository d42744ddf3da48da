// A picture: what its header says, and its pixels at each reduction. Large ones are left alone, for their time.

#include "data/image_decoder.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  constexpr uint64_t kMaxPixels = uint64_t{1} << 16;
  const std::span<const std::byte> encoded(reinterpret_cast<const std::byte*>(data), size);
  test::must_read_or_refuse([&] {
    const data::ImageInfo info = data::probe_image(encoded);
    test::must_hold(uint64_t{info.width} * info.height <= data::kMaxImagePixels);
    if (uint64_t{info.width} * info.height > kMaxPixels) return;
    static data::ImageDecoder decoder;
    for (const unsigned reduction : {1U, 2U, 4U, 8U}) {
      data::Image image;
      decoder.decode(encoded, reduction, image);
      test::must_hold(image.pixels.size() == std::size_t{3} * image.width * image.height);
    }
  });
  return 0;
}
