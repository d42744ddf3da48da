#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/image_decoder.h"

namespace triptych::data {

/// A rectangle in pixels of an image; sides and corners need not be whole.
struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};

/// How a picture becomes the square that a model sees, as far as nothing is random.
struct PictureOptions {
  /// What an evaluation sees of a picture that is no square.
  enum class Fit {
    kCrop,     ///< the square in its middle (CLIP)
    kStretch,  ///< all of it (SigLIP, ViT)
  };
  enum class Filter {
    kLinear,  ///< a triangle
    kCubic,  ///< Keys 1981 with a = -0.5, as PIL's BICUBIC; JPEGs are then decoded in full size, as published code does
  };
  Fit fit = Fit::kCrop;
  Filter filter = Filter::kLinear;
};

/// Random changes of a training image. The defaults change nothing but the crop.
struct AugmentOptions {
  double min_scale = 0.9, max_scale = 1.0;              ///< the crop's share of the image's area, in (0, 1]
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;      ///< the crop's width / height, drawn uniformly in its logarithm
  double flip_probability = 0;                          ///< left-right mirror; off, since captions may name sides
  double brightness = 0, contrast = 0, saturation = 0;  ///< each factor is uniform in [1 - x, 1 + x], x in [0, 1]
  double hue = 0;                    ///< the hue turns by up to this share of half a circle either way, in [0, 1]
  double color = 0;                  ///< each channel's black and white point moves inwards by up to color/2, in [0, 1]
  double grayscale_probability = 0;  ///< luma in all three channels
  double invert_probability = 0;     ///< 255 - value: light on dark becomes dark on light
  PictureOptions picture = {};
};

/// Throws UserError listing every value out of range.
void check_augment_options(const AugmentOptions& options);

/// The changes drawn for one sample.
struct Augmentation {
  Box crop;
  bool flip = false;
  bool has_color = false;  ///< false: the fields below are the identity
  float brightness = 1, contrast = 1, saturation = 1;
  float hue_turns = 0;
  float black[3] = {0, 0, 0}, white[3] = {255, 255, 255};
  bool grayscale = false, invert = false;
};

/// Draws from Philox by (seed, "augment", position): `position` is the sample's place in the endless stream of
/// training samples (step * global batch + row), so the same sample is changed differently in each epoch and in the
/// same way on any mesh. `options` are valid.
Augmentation draw_augmentation(const AugmentOptions& options, uint64_t seed, uint64_t position, uint32_t width,
                               uint32_t height);

/// The square of the shorter side in the middle. A square image is taken whole.
Box center_square(uint32_t width, uint32_t height);
/// What evaluation sees of an image.
Box evaluation_box(const PictureOptions& options, uint32_t width, uint32_t height);

/// The largest reduction (1, 2, 4, 8) at which `crop` still has at least `size` pixels a side, so that decoding at that
/// reduction loses nothing that resizing would keep.
unsigned decode_reduction(const Box& crop, uint32_t size);

/// `crop`, a box of an image of full_width x full_height, in the pixels of `image`, its reduced form.
Box scale_box(const Box& crop, uint32_t full_width, uint32_t full_height, const Image& image);

/// Resamples boxes of images to a fixed square. Keeps its weights and buffers between calls. One thread at a time.
class Resizer {
 public:
  /// out[size, size, 3] = `box` of `image` by separable filters: interpolation where it grows, an antialiasing filter
  /// as wide as the reduction where it shrinks. Weights outside the box, or, of the cubic filter, outside the image,
  /// are cut and the rest normalised. The box lies in the image. Rounded to nearest once, at the end.
  void resize(const Image& image, const Box& box, uint32_t size, std::span<uint8_t> out,
              PictureOptions::Filter filter = PictureOptions::Filter::kLinear);

 private:
  struct Axis {
    std::vector<uint32_t> first, count;  // per output: the first input and how many
    std::vector<float> weights;          // [outputs, stride]
    uint32_t stride = 0;
    uint32_t begin = 0, end = 0;  // the inputs that any output reads
  };
  static void make_axis(double start, double length, uint32_t inputs, uint32_t outputs, PictureOptions::Filter filter,
                        Axis& axis);

  Axis horizontal_, vertical_;
  std::vector<float> row_;
};

/// Mirror and colours of `augmentation` on pixels[size, size, 3], in place. All colour changes are affine in RGB, so
/// they are composed into one map a sample and the values are rounded and clamped once. Order: brightness, contrast,
/// saturation, hue, grayscale, black and white points, inversion.
void apply_augmentation(const Augmentation& augmentation, uint32_t size, std::span<uint8_t> pixels);

}  // namespace triptych::data
