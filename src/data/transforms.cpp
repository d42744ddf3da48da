#include "data/transforms.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"
#include "base/philox.h"
#include "data/pixel_lanes.h"

namespace triptych::data {
namespace {

// ITU-R BT.601, as JPEG's luma.
constexpr float kLuma[3] = {0.299f, 0.587f, 0.114f};

/// y = matrix * x + offset on RGB.
struct ColorMap {
  float matrix[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  float offset[3] = {0, 0, 0};

  /// This map, then `next`.
  void then(const ColorMap& next) {
    const ColorMap self = *this;
    for (int i = 0; i < 3; ++i) {
      offset[i] = next.offset[i];
      for (int k = 0; k < 3; ++k) offset[i] += next.matrix[i][k] * self.offset[k];
      for (int j = 0; j < 3; ++j) {
        matrix[i][j] = 0;
        for (int k = 0; k < 3; ++k) matrix[i][j] += next.matrix[i][k] * self.matrix[k][j];
      }
    }
  }
};

/// x * factor + (1 - factor) * luma(x): saturation; factor 0 leaves grey.
ColorMap saturation_map(float factor) {
  ColorMap map;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) map.matrix[i][j] = (i == j ? factor : 0.f) + (1 - factor) * kLuma[j];
  }
  return map;
}

/// Turns the chroma plane of YIQ, which keeps luma: inverse(YIQ) * rotation * YIQ.
ColorMap hue_map(float turns) {
  constexpr double kYiq[3][3] = {
      {0.299, 0.587, 0.114}, {0.595716, -0.274453, -0.321263}, {0.211456, -0.522591, 0.311135}};
  constexpr double kRgb[3][3] = {{1, 0.9563, 0.6210}, {1, -0.2721, -0.6474}, {1, -1.1070, 1.7046}};
  const double angle = 2 * std::numbers::pi * turns;
  const double rotation[3][3] = {
      {1, 0, 0}, {0, std::cos(angle), -std::sin(angle)}, {0, std::sin(angle), std::cos(angle)}};
  ColorMap map;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      double sum = 0;
      for (int k = 0; k < 3; ++k) {
        for (int l = 0; l < 3; ++l) sum += kRgb[i][k] * rotation[k][l] * kYiq[l][j];
      }
      map.matrix[i][j] = static_cast<float>(sum);
    }
  }
  return map;
}

ColorMap color_map(const Augmentation& a, std::span<const uint8_t> pixels) {
  ColorMap map;
  if (a.brightness != 1) {
    for (int i = 0; i < 3; ++i) map.matrix[i][i] = a.brightness;
  }
  if (a.contrast != 1) {
    // About the image's mean luma, which the affine map before it carries along.
    uint64_t sum[3] = {0, 0, 0};
    for (std::size_t i = 0; i < pixels.size(); i += 3) {
      for (std::size_t c = 0; c < 3; ++c) sum[c] += pixels[i + c];
    }
    double mean = 0;
    for (int c = 0; c < 3; ++c) mean += double{kLuma[c]} * a.brightness * static_cast<double>(sum[c]);
    mean /= static_cast<double>(pixels.size() / 3);
    ColorMap contrast;
    for (int i = 0; i < 3; ++i) {
      contrast.matrix[i][i] = a.contrast;
      contrast.offset[i] = static_cast<float>((1 - a.contrast) * mean);
    }
    map.then(contrast);
  }
  if (a.saturation != 1) map.then(saturation_map(a.saturation));
  if (a.hue_turns != 0) map.then(hue_map(a.hue_turns));
  if (a.grayscale) map.then(saturation_map(0));
  ColorMap levels;
  for (int i = 0; i < 3; ++i) {
    levels.matrix[i][i] = (a.white[i] - a.black[i]) / 255;
    levels.offset[i] = a.black[i];
    if (a.invert) {
      levels.matrix[i][i] = -levels.matrix[i][i];
      levels.offset[i] = 255 - levels.offset[i];
    }
  }
  map.then(levels);
  return map;
}

}  // namespace

void check_augment_options(const AugmentOptions& o) {
  std::string faults;
  const auto require = [&](bool ok, std::string_view rule, const std::string& values) {
    if (!ok) faults += fmt::format("{}{}, found {}", faults.empty() ? "" : "; ", rule, values);
  };
  const auto in = [](double x, double low, double high) { return x >= low && x <= high; };  // false for NaN
  require(o.min_scale > 0 && in(o.min_scale, 0, o.max_scale) && in(o.max_scale, 0, 1),
          "0 < min_scale <= max_scale <= 1", fmt::format("{} and {}", o.min_scale, o.max_scale));
  require(in(o.min_ratio, 0.01, o.max_ratio) && in(o.max_ratio, 0.01, 100), "0.01 <= min_ratio <= max_ratio <= 100",
          fmt::format("{} and {}", o.min_ratio, o.max_ratio));
  const std::pair<const char*, double> shares[] = {{"flip_probability", o.flip_probability},
                                                   {"brightness", o.brightness},
                                                   {"contrast", o.contrast},
                                                   {"saturation", o.saturation},
                                                   {"hue", o.hue},
                                                   {"color", o.color},
                                                   {"grayscale_probability", o.grayscale_probability},
                                                   {"invert_probability", o.invert_probability}};
  for (const auto& [name, value] : shares) {
    require(in(value, 0, 1), fmt::format("{} must be in [0, 1]", name), fmt::format("{}", value));
  }
  if (!faults.empty()) throw UserError("augment", faults + ". Set them in range.");
}

Augmentation draw_augmentation(const AugmentOptions& options, uint64_t seed, uint64_t position, uint32_t width,
                               uint32_t height) {
  const RandomKey key = random_key(seed, "augment", position);
  // Each choice has words of its own, so adding one option does not change what another draws.
  const auto uniform = [&](uint64_t word) { return philox_uniform(key, word); };
  const auto jitter = [&](uint64_t word, double strength) {
    return static_cast<float>(1 + strength * (2.0 * uniform(word) - 1));
  };
  enum : uint64_t {
    kFlip,
    kBrightness,
    kContrast,
    kSaturation,
    kHue,
    kGray,
    kInvert,
    kBlack = 8,
    kWhite = 12,
    kCrop = 16
  };

  Augmentation a;
  const double full_width = width, full_height = height;
  bool found = false;
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts && !found; ++attempt) {
    const uint64_t word = kCrop + 4 * static_cast<uint64_t>(attempt);
    const double scale = options.min_scale + (options.max_scale - options.min_scale) * uniform(word);
    const double log_low = std::log(options.min_ratio), log_high = std::log(options.max_ratio);
    const double ratio = std::exp(log_low + (log_high - log_low) * uniform(word + 1));
    const double area = scale * full_width * full_height;
    a.crop.width = std::sqrt(area * ratio);
    a.crop.height = std::sqrt(area / ratio);
    found = a.crop.width <= full_width && a.crop.height <= full_height;
    if (found) {
      a.crop.x = uniform(word + 2) * (full_width - a.crop.width);
      a.crop.y = uniform(word + 3) * (full_height - a.crop.height);
    }
  }
  if (!found) {  // the largest box of a legal ratio, in the middle
    const double ratio = std::clamp(full_width / full_height, options.min_ratio, options.max_ratio);
    a.crop.width = std::min(full_width, full_height * ratio);
    a.crop.height = std::min(full_height, full_width / ratio);
    a.crop.x = (full_width - a.crop.width) / 2;
    a.crop.y = (full_height - a.crop.height) / 2;
  }

  a.flip = uniform(kFlip) < options.flip_probability;
  a.brightness = jitter(kBrightness, options.brightness);
  a.contrast = jitter(kContrast, options.contrast);
  a.saturation = jitter(kSaturation, options.saturation);
  a.hue_turns = static_cast<float>(options.hue * (uniform(kHue) - 0.5));
  a.grayscale = uniform(kGray) < options.grayscale_probability;
  a.invert = uniform(kInvert) < options.invert_probability;
  for (uint64_t c = 0; c < 3; ++c) {
    a.black[c] = static_cast<float>(127.5 * options.color * uniform(kBlack + c));
    a.white[c] = static_cast<float>(255 - 127.5 * options.color * uniform(kWhite + c));
  }
  a.has_color = options.brightness > 0 || options.contrast > 0 || options.saturation > 0 || options.hue > 0 ||
                options.color > 0 || a.grayscale || a.invert;
  return a;
}

Box center_square(uint32_t width, uint32_t height) {
  const double side = std::min(width, height);
  return {(width - side) / 2, (height - side) / 2, side, side};
}

Box evaluation_box(const PictureOptions& options, uint32_t width, uint32_t height) {
  if (options.fit == PictureOptions::Fit::kCrop) return center_square(width, height);
  return {.width = static_cast<double>(width), .height = static_cast<double>(height)};
}

unsigned decode_reduction(const Box& crop, uint32_t size) {
  const double ratio = std::min(crop.width, crop.height) / size;
  return ratio >= 8 ? 8 : ratio >= 4 ? 4 : ratio >= 2 ? 2 : 1;
}

Box scale_box(const Box& crop, uint32_t full_width, uint32_t full_height, const Image& image) {
  const double x = static_cast<double>(image.width) / full_width, y = static_cast<double>(image.height) / full_height;
  return {crop.x * x, crop.y * y, crop.width * x, crop.height * y};
}

void apply_augmentation(const Augmentation& augmentation, uint32_t size, std::span<uint8_t> pixels) {
  TRIPTYCH_CHECK(pixels.size() == std::size_t{3} * size * size, "{} bytes for side {}", pixels.size(), size);
  if (augmentation.flip) {
    for (std::size_t y = 0; y < size; ++y) {
      uint8_t* row = pixels.data() + 3 * y * size;
      for (std::size_t x = 0; x < size / 2; ++x)
        std::swap_ranges(row + 3 * x, row + 3 * x + 3, row + 3 * (size - 1 - x));
    }
  }
  if (!augmentation.has_color) return;
  const ColorMap map = color_map(augmentation, pixels);
  const auto column = [&](int j) { return PixelLanes{map.matrix[0][j], map.matrix[1][j], map.matrix[2][j], 0}; };
  const PixelLanes red = column(0), green = column(1), blue = column(2);
  const PixelLanes offset{map.offset[0], map.offset[1], map.offset[2], 0};
  constexpr std::size_t kBlock = 64;  // pixels that are rounded together
  float block[3 * kBlock + 1];
  const std::size_t num_pixels = pixels.size() / 3;
  for (std::size_t first = 0; first < num_pixels; first += kBlock) {
    uint8_t* p = pixels.data() + 3 * first;
    const std::size_t count = std::min(kBlock, num_pixels - first);
    for (std::size_t i = 0; i < count; ++i) {
      const float r = p[3 * i], g = p[3 * i + 1], b = p[3 * i + 2];
      store_pixel(clamp_pixel(r * red + g * green + b * blue + offset), block + 3 * i);
    }
    round_to_bytes(block, 3 * count, p);
  }
}

}  // namespace triptych::data
