#include "data/image_decoder.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "data/image_formats.h"
#include "data/image_metadata.h"

namespace triptych::data {
namespace {

bool starts_with(std::span<const std::byte> bytes, std::size_t offset, std::span<const unsigned char> magic) {
  return bytes.size() >= offset + magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](unsigned char a, std::byte b) { return a == std::to_integer<unsigned char>(b); });
}

ImageFormat detect_format(std::span<const std::byte> encoded) {
  static constexpr std::array<unsigned char, 3> kJpeg{0xff, 0xd8, 0xff};
  static constexpr std::array<unsigned char, 8> kPng{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  static constexpr std::array<unsigned char, 4> kRiff{'R', 'I', 'F', 'F'}, kWebp{'W', 'E', 'B', 'P'};
  if (starts_with(encoded, 0, kJpeg)) return ImageFormat::kJpeg;
  if (starts_with(encoded, 0, kPng)) return ImageFormat::kPng;
  if (starts_with(encoded, 0, kRiff) && starts_with(encoded, 8, kWebp)) return ImageFormat::kWebp;
  std::string head;
  for (std::size_t i = 0; i < std::min<std::size_t>(encoded.size(), 8); ++i) {
    head += fmt::format("{}{:02x}", i == 0 ? "" : " ", std::to_integer<unsigned>(encoded[i]));
  }
  throw WorldError("image", fmt::format("an image must be JPEG, PNG or WebP; {} bytes that begin with [{}] are none of "
                                        "them. Convert the image or leave it out.",
                                        encoded.size(), head));
}

}  // namespace

namespace formats {

void check_size(const char* where, uint64_t width, uint64_t height) {
  // Sides of up to 2^32 - 1 cannot overflow the product.
  if (width == 0 || height == 0 || width > UINT32_MAX || height > UINT32_MAX || width * height > kMaxImagePixels) {
    throw WorldError(where, fmt::format("an image must have 1 to {} pixels; its header says {} x {}. Scale the image "
                                        "down or leave it out.",
                                        kMaxImagePixels, width, height));
  }
}

void shape(Image& image, uint32_t width, uint32_t height) {
  image.width = width;
  image.height = height;
  image.pixels.resize(std::size_t{3} * width * height);
}

void composite_on_white(const uint8_t* rgba, std::size_t num_pixels, uint8_t* rgb) {
  for (std::size_t i = 0; i < num_pixels; ++i) {
    const uint32_t alpha = rgba[4 * i + 3];
    const uint32_t white = 255 * (255 - alpha) + 127;
    for (std::size_t c = 0; c < 3; ++c) rgb[3 * i + c] = static_cast<uint8_t>((rgba[4 * i + c] * alpha + white) / 255);
  }
}

}  // namespace formats

std::string_view image_format_name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
  }
  return "?";
}

ImageInfo probe_image(std::span<const std::byte> encoded) {
  const ImageFormat format = detect_format(encoded);
  ImageInfo info = format == ImageFormat::kJpeg  ? formats::probe_jpeg(encoded)
                   : format == ImageFormat::kPng ? formats::probe_png(encoded)
                                                 : formats::probe_webp(encoded);
  info.orientation = exif_orientation(format, encoded);
  return info;
}

void ImageDecoder::decode(std::span<const std::byte> encoded, unsigned reduction, Image& out) {
  constexpr std::size_t kKeepBytes = std::size_t{16} << 20;  // one huge image must not hold its memory for ever
  if (scratch_.capacity() > kKeepBytes) scratch_ = {};
  if (out.pixels.capacity() > kKeepBytes) out.pixels = {};
  TRIPTYCH_CHECK(reduction == 1 || reduction == 2 || reduction == 4 || reduction == 8, "reduction {}", reduction);
  const ImageFormat format = detect_format(encoded);
  switch (format) {
    case ImageFormat::kJpeg:
      formats::decode_jpeg(encoded, reduction, out, scratch_);
      break;
    case ImageFormat::kPng:
      formats::decode_png(encoded, out, scratch_, rows_);
      break;
    case ImageFormat::kWebp:
      formats::decode_webp(encoded, out, scratch_);
      break;
  }
  apply_orientation(exif_orientation(format, encoded), out, scratch_);
}

Image decode_image(std::span<const std::byte> encoded) {
  Image image;
  ImageDecoder().decode(encoded, 1, image);
  return image;
}

}  // namespace triptych::data
