#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

enum class ImageFormat : uint8_t { kJpeg, kPng, kWebp };

/// "JPEG", "PNG", "WebP".
std::string_view image_format_name(ImageFormat format);

/// An image of more pixels is refused when its header is read, so that no file can ask for more than 192 MiB of pixels.
inline constexpr uint64_t kMaxImagePixels = uint64_t{64} << 20;

struct ImageInfo {
  ImageFormat format;
  uint32_t width, height;   ///< pixels, as stored
  uint8_t orientation = 1;  ///< 1 to 8, how the stored pixels are to be seen (EXIF); decoding applies it

  /// The size as seen, which decoding gives: 5 to 8 lie on their side.
  uint32_t seen_width() const { return orientation >= 5 ? height : width; }
  uint32_t seen_height() const { return orientation >= 5 ? width : height; }
};

/// What the headers of an encoded image say; reads no pixel and allocates nothing that depends on the claimed size.
/// Throws WorldError with the reason on an unknown format, a broken header, an animation, or more than
/// kMaxImagePixels. Thread-safe.
ImageInfo probe_image(std::span<const std::byte> encoded);

/// RGB, 8 bits a channel, pixels[height, width, 3].
struct Image {
  uint32_t width = 0, height = 0;
  std::vector<uint8_t> pixels;
};

/// Decodes JPEG, PNG and WebP into RGB. Holds buffers that are used again, so a steady stream of similar images
/// allocates nothing here (the format's own library may). One thread at a time.
class ImageDecoder {
 public:
  /// Decodes `encoded` into `out`, reusing its memory. Grey is expanded, a palette applied, 16 bits rounded to 8, CMYK
  /// converted as a plain ink model, transparency composited on white, and the image turned to how its EXIF orientation
  /// says that it is seen. Colour profiles and gamma are ignored; image_remarks() tells of them.
  ///
  ///   reduction   1, 2, 4 or 8: a JPEG is decoded at 1/reduction of its size (sides rounded up) by a scaled inverse
  ///               DCT, at a fraction of the cost; other formats come whole
  ///
  /// Throws WorldError with the reason if the file is not a whole, sound image: damaged or missing data is an error,
  /// not a grey area. `out` is unspecified then.
  void decode(std::span<const std::byte> encoded, unsigned reduction, Image& out);

 private:
  std::vector<uint8_t> scratch_;  // pixels with alpha, or one row of them; those that are turned
  std::vector<uint8_t*> rows_;
};

/// The whole image, for one call.
Image decode_image(std::span<const std::byte> encoded);

}  // namespace triptych::data
