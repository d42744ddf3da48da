#include <webp/decode.h>

#include "base/error.h"
#include "data/image_formats.h"

namespace triptych::data::formats {
namespace {

constexpr const char* kWhere = "image: WebP";

const char* reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OK:
      return "no error";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_INVALID_PARAM:
      return "invalid parameter";
    case VP8_STATUS_BITSTREAM_ERROR:
      return "damaged data";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "an unsupported feature";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends early";
    case VP8_STATUS_USER_ABORT:
      return "aborted";
  }
  return "unknown error";
}

void check(VP8StatusCode status) {
  if (status == VP8_STATUS_OK) return;
  throw WorldError(kWhere, fmt::format("the file must be a whole, sound image: {}. Replace the image or leave it out.",
                                       reason(status)));
}

const uint8_t* data(std::span<const std::byte> encoded) {
  return reinterpret_cast<const uint8_t*>(encoded.data());
}

WebPBitstreamFeatures read_features(std::span<const std::byte> encoded) {
  WebPBitstreamFeatures features{};
  check(WebPGetFeatures(data(encoded), encoded.size(), &features));
  if (features.has_animation != 0) {
    throw WorldError(kWhere, "an image must be still; this is an animation. Extract a frame or leave it out.");
  }
  if (features.width < 0 || features.height < 0) check(VP8_STATUS_BITSTREAM_ERROR);
  check_size(kWhere, static_cast<uint64_t>(features.width), static_cast<uint64_t>(features.height));
  return features;
}

}  // namespace

ImageInfo probe_webp(std::span<const std::byte> encoded) {
  const WebPBitstreamFeatures features = read_features(encoded);
  return {.format = ImageFormat::kWebp,
          .width = static_cast<uint32_t>(features.width),
          .height = static_cast<uint32_t>(features.height)};
}

void decode_webp(std::span<const std::byte> encoded, Image& out, std::vector<uint8_t>& scratch) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    throw WorldError(kWhere, "libwebp could not start: its version differs from the one built with.");
  }
  config.input = read_features(encoded);
  const bool alpha = config.input.has_alpha != 0;
  const auto width = static_cast<uint32_t>(config.input.width), height = static_cast<uint32_t>(config.input.height);
  const std::size_t num_pixels = std::size_t{width} * height;
  shape(out, width, height);
  if (alpha) scratch.resize(4 * num_pixels);

  config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = alpha ? scratch.data() : out.pixels.data();
  config.output.u.RGBA.stride = static_cast<int>((alpha ? 4 : 3) * width);
  config.output.u.RGBA.size = (alpha ? 4 : 3) * num_pixels;
  const VP8StatusCode status = WebPDecode(data(encoded), encoded.size(), &config);
  WebPFreeDecBuffer(&config.output);
  check(status);
  if (alpha) composite_on_white(scratch.data(), num_pixels, out.pixels.data());
}

}  // namespace triptych::data::formats
