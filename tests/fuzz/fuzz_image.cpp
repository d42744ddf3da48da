// A picture: what its header says, what is remarked on it, and its pixels at each reduction. Those of large ones are
// left alone, for their time.

#include "base/text.h"
#include "data/image_decoder.h"
#include "data/image_metadata.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  constexpr uint64_t kMaxPixels = uint64_t{1} << 16;
  const std::span<const std::byte> encoded(reinterpret_cast<const std::byte*>(data), size);
  const std::vector<std::string> remarks = data::image_remarks(encoded);
  test::must_hold(remarks.size() <= 5);  // one of each kind
  for (const std::string& remark : remarks) {
    test::must_hold(base::is_utf8(remark) && base::printable(remark) == remark);
  }
  test::must_read_or_refuse([&] {
    const data::ImageInfo info = data::probe_image(encoded);
    test::must_hold(uint64_t{info.width} * info.height <= data::kMaxImagePixels);
    test::must_hold(info.orientation >= 1 && info.orientation <= 8);
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
