#include "evaluation/reconstruction.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

constexpr double kVarianceFloor = 1e-6;
constexpr uint8_t kGrey = 128;

// Calls f(value, pixel) for each value of a patch, in the order (channel, row, column): its number among the patch's
// values, and its place in an image [size, size, 3].
template <typename F>
void for_values(const PatchLayout& layout, int64_t patch, const F& f) {
  const int64_t across = layout.size / layout.patch;
  const int64_t row = patch / across * layout.patch, column = patch % across * layout.patch;
  std::size_t value = 0;
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t y = row; y < row + layout.patch; ++y) {
      for (int64_t x = column; x < column + layout.patch; ++x) {
        f(value++, static_cast<std::size_t>((y * layout.size + x) * 3 + c));
      }
    }
  }
}

std::size_t channel_of(std::size_t pixel) {
  return pixel % 3;
}

// As a model sees a pixel.
double seen(const PixelScale& scale, uint8_t pixel, std::size_t channel) {
  return (pixel / 255.0 - static_cast<double>(scale.mean[channel])) / static_cast<double>(scale.std[channel]);
}

// What a patch's values are relative to: value = (seen - mean) / deviation.
struct Frame {
  double mean = 0, deviation = 1;
};

Frame frame_of(const PatchLayout& layout, std::span<const uint8_t> pixels, int64_t patch, bool normalize) {
  if (!normalize) return {};
  double sum = 0, squares = 0;
  const auto add = [&](double& to, const auto& of) {
    for_values(layout, patch,
               [&](std::size_t, std::size_t at) { to += of(seen(layout.scale, pixels[at], channel_of(at))); });
  };
  add(sum, [](double x) { return x; });
  const auto count = static_cast<double>(layout.num_values());
  const double mean = sum / count;
  add(squares, [mean](double x) { return (x - mean) * (x - mean); });
  return {mean, std::sqrt(squares / (count - 1) + kVarianceFloor)};
}

void check_sizes(const PatchLayout& layout, std::size_t pixels, std::size_t reconstruction) {
  TRIPTYCH_CHECK(pixels == static_cast<std::size_t>(3 * layout.size * layout.size) &&
                     reconstruction == static_cast<std::size_t>(layout.num_patches() * layout.num_values()),
                 "{} pixels and {} values for {} patches of {}", pixels, reconstruction, layout.num_patches(),
                 layout.num_values());
}

}  // namespace

double ReconstructionCounter::add(std::span<const uint8_t> pixels, std::span<const float> reconstruction,
                                  std::span<const int32_t> masked) {
  check_sizes(layout_, pixels.size(), reconstruction.size());
  const auto num_values = static_cast<double>(layout_.num_values());
  double own = 0;
  int64_t count = 0;
  for (const int32_t patch : masked) {
    if (patch < 0) continue;
    const auto values = reconstruction.subspan(static_cast<std::size_t>(patch * layout_.num_values()));
    const Frame frame = frame_of(layout_, pixels, patch, layout_.normalize);
    const auto for_targets = [&](const auto& f) {
      for_values(layout_, patch, [&](std::size_t value, std::size_t at) {
        f(value, channel_of(at), (seen(layout_.scale, pixels[at], channel_of(at)) - frame.mean) / frame.deviation);
      });
    };
    double mean = 0, error = 0, error_of_mean = 0, error_of_color = 0;
    std::array<double, 3> color{};
    for_targets([&](std::size_t, std::size_t c, double target) {
      mean += target / num_values;
      color[c] += 3 * target / num_values;
    });
    for_targets([&](std::size_t value, std::size_t c, double target) {
      error += std::pow(static_cast<double>(values[value]) - target, 2);
      error_of_mean += std::pow(mean - target, 2);
      error_of_color += std::pow(color[c] - target, 2);
    });
    own += error / num_values;
    sum_of_means_ += error_of_mean / num_values;
    sum_of_colors_ += error_of_color / num_values;
    ++count;
  }
  sum_ += own;
  num_patches_ += count;
  return count == 0 ? 0 : own / static_cast<double>(count);
}

std::vector<uint8_t> hide_patches(const PatchLayout& layout, std::span<const uint8_t> pixels,
                                  std::span<const int32_t> masked) {
  std::vector<uint8_t> result(pixels.begin(), pixels.end());
  for (const int32_t patch : masked) {
    if (patch >= 0) for_values(layout, patch, [&](std::size_t, std::size_t at) { result[at] = kGrey; });
  }
  return result;
}

std::vector<uint8_t> paint_patches(const PatchLayout& layout, std::span<const uint8_t> pixels,
                                   std::span<const float> reconstruction, std::span<const int32_t> masked) {
  check_sizes(layout, pixels.size(), reconstruction.size());
  std::vector<uint8_t> result(pixels.begin(), pixels.end());
  for (const int32_t patch : masked) {
    if (patch < 0) continue;
    const auto values = reconstruction.subspan(static_cast<std::size_t>(patch * layout.num_values()));
    const Frame frame = frame_of(layout, pixels, patch, layout.normalize);
    for_values(layout, patch, [&](std::size_t value, std::size_t at) {
      const std::size_t c = channel_of(at);
      const double x = static_cast<double>(values[value]) * frame.deviation + frame.mean;
      const double pixel =
          255 * (x * static_cast<double>(layout.scale.std[c]) + static_cast<double>(layout.scale.mean[c]));
      result[at] = static_cast<uint8_t>(std::lround(std::clamp(std::isnan(pixel) ? 0.0 : pixel, 0.0, 255.0)));
    });
  }
  return result;
}

}  // namespace triptych::evaluation
