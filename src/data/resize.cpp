#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "data/pixel_lanes.h"
#include "data/transforms.h"

namespace triptych::data {
namespace {

/// The box's side must be positive and lie in [0, inputs], up to the rounding of scaled boxes.
void check_side(double& start, double& length, uint32_t inputs) {
  constexpr double kSlack = 1e-6;
  TRIPTYCH_CHECK(length > 0 && start >= -kSlack && start + length <= inputs + kSlack, "box side {} + {} of {} pixels",
                 start, length, inputs);
  start = std::max(start, 0.0);
  length = std::min(length, inputs - start);
}

// Of a filter at a distance in its own units; 0 at its radius and beyond.
double triangle(double x) {
  return 1 - std::abs(x);
}

double cubic(double x) {
  constexpr double a = -0.5;
  const double t = std::abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

}  // namespace

void Resizer::make_axis(double start, double length, uint32_t inputs, uint32_t outputs, PictureOptions::Filter filter,
                        Axis& axis) {
  check_side(start, length, inputs);
  const bool is_cubic = filter == PictureOptions::Filter::kCubic;
  const double scale = length / outputs, unit = std::max(scale, 1.0);
  const double support = is_cubic ? 2 * unit : unit;
  const double low = is_cubic ? 0 : std::floor(start);
  const double high = is_cubic ? inputs : std::min<double>(std::ceil(start + length), inputs);
  axis.stride = static_cast<uint32_t>(std::ceil(2 * support)) + 1;
  axis.first.resize(outputs);
  axis.count.resize(outputs);
  axis.weights.resize(std::size_t{outputs} * axis.stride);
  axis.begin = inputs;
  axis.end = 0;
  for (uint32_t i = 0; i < outputs; ++i) {
    const double center = start + (i + 0.5) * scale;
    const auto weight = [&](double j) {
      const double x = (j + 0.5 - center) / unit;
      return is_cubic ? cubic(x) : triangle(x);
    };
    const auto is_outside = [&](double j) { return std::abs(j + 0.5 - center) >= support; };
    double first = std::max(low, std::floor(center - support));
    double last = std::min(high, std::ceil(center + support)) - 1;
    while (first < last && is_outside(first)) ++first;
    while (first < last && is_outside(last)) --last;
    const auto count = static_cast<uint32_t>(last - first) + 1;
    TRIPTYCH_CHECK(count <= axis.stride, "{} taps in {}", count, axis.stride);
    double sum = 0;
    for (uint32_t k = 0; k < count; ++k) sum += weight(first + k);
    for (uint32_t k = 0; k < count; ++k) {
      axis.weights[std::size_t{i} * axis.stride + k] = static_cast<float>(weight(first + k) / sum);
    }
    axis.first[i] = static_cast<uint32_t>(first);
    axis.count[i] = count;
    axis.begin = std::min(axis.begin, axis.first[i]);
    axis.end = std::max(axis.end, axis.first[i] + count);
  }
}

void Resizer::resize(const Image& image, const Box& box, uint32_t size, std::span<uint8_t> out,
                     PictureOptions::Filter filter) {
  TRIPTYCH_CHECK(size > 0 && out.size() == std::size_t{3} * size * size, "{} bytes for side {}", out.size(), size);
  make_axis(box.x, box.width, image.width, size, filter, horizontal_);
  make_axis(box.y, box.height, image.height, size, filter, vertical_);

  // Down the columns first: that runs along rows of bytes, so it vectorises, and leaves fewer rows for the other pass.
  const std::size_t begin = std::size_t{3} * horizontal_.begin;
  const std::size_t row_size = std::size_t{3} * horizontal_.end - begin;
  row_.resize(row_size + 1 + std::size_t{3} * size + 1);
  float* row = row_.data();
  float* out_row = row + row_size + 1;
  row[row_size] = 0;
  for (std::size_t y = 0; y < size; ++y) {
    const float* vertical = vertical_.weights.data() + y * vertical_.stride;
    const uint8_t* source = image.pixels.data() + std::size_t{3} * vertical_.first[y] * image.width + begin;
    for (std::size_t i = 0; i < row_size; ++i) row[i] = vertical[0] * static_cast<float>(source[i]);
    for (uint32_t k = 1; k < vertical_.count[y]; ++k) {
      source += std::size_t{3} * image.width;
      const float weight = vertical[k];
      for (std::size_t i = 0; i < row_size; ++i) row[i] += weight * static_cast<float>(source[i]);
    }
    for (std::size_t x = 0; x < size; ++x) {
      const float* taps = row + std::size_t{3} * horizontal_.first[x] - begin;
      const float* weights = horizontal_.weights.data() + x * horizontal_.stride;
      PixelLanes sum = weights[0] * load_pixel(taps);
      for (uint32_t k = 1; k < horizontal_.count[x]; ++k) sum += weights[k] * load_pixel(taps + std::size_t{3} * k);
      store_pixel(sum, out_row + 3 * x);
    }
    // A triangle's weights are positive and their sum is 1 up to rounding, so nothing leaves [0, 255.1].
    if (filter == PictureOptions::Filter::kCubic) {
      for (std::size_t i = 0; i < std::size_t{3} * size; ++i) out_row[i] = std::clamp(out_row[i], 0.0f, 255.0f);
    }
    round_to_bytes(out_row, std::size_t{3} * size, out.data() + 3 * y * size);
  }
}

}  // namespace triptych::data
