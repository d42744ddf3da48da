#include "base/error.h"
#include "kernels/cuda/common.cuh"
#include "kernels/patchify.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// N elements of the patches that follow each other in memory; their pixels, single bytes, come from the first-level
/// cache, since neighbouring threads take the other channels of the same ones.
template <typename T>
struct Patchify {
  const uint8_t* pixels;
  T* patches;
  uint32_t image_size;
  uint32_t patch_size;
  uint32_t across;
  float scale[3];  ///< 1 / (255 std)
  float shift[3];  ///< -mean / std

  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    const uint32_t plane = patch_size * patch_size, patch_elements = 3 * plane;
    auto patch = static_cast<uint64_t>(i) / patch_elements;  // among those of all images
    auto within = static_cast<uint32_t>(static_cast<uint64_t>(i) % patch_elements);
    uint32_t c = within / plane;
    uint32_t y = within % plane / patch_size;
    uint32_t x = within % patch_size;
    const uint8_t* row = row_of(patch, y);
    Floats<N> values{};
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (k >= piece.count) break;
      const float pixel = row[3 * x + c];
      values[k] = c == 0   ? fmaf(pixel, scale[0], shift[0])
                  : c == 1 ? fmaf(pixel, scale[1], shift[1])
                           : fmaf(pixel, scale[2], shift[2]);
      if (++x < patch_size) continue;
      x = 0;
      if (++y == patch_size) {
        y = 0;
        if (++c == 3) {
          c = 0;
          ++patch;
        }
      }
      row = row_of(patch, y);
    }
    store(values, patches + i, piece);
  }

  /// The first pixel of row y of a patch.
  __device__ const uint8_t* row_of(uint64_t patch, uint32_t y) const {
    const uint64_t strip = patch / across;  // a row of patches, of any of the images
    const auto column = static_cast<uint32_t>(patch % across);
    return pixels + ((strip * patch_size + y) * image_size + column * patch_size) * 3;
  }
};

}  // namespace

void patchify(Stream& stream, const PatchifyArgs& args) {
  TRIPTYCH_CHECK(args.patch_size > 0 && args.image_size > 0 && args.image_size % args.patch_size == 0,
                 "An image divides into whole patches, found sizes {} and {}.", args.image_size, args.patch_size);
  TRIPTYCH_CHECK(args.std[0] > 0.0f && args.std[1] > 0.0f && args.std[2] > 0.0f,
                 "Standard deviations are positive, found {}, {}, {}.", args.std[0], args.std[1], args.std[2]);
  TRIPTYCH_CHECK(args.image_size <= 16384, "An image of {} x {} pixels is beyond 32-bit offsets.", args.image_size,
                 args.image_size);
  with_float_type(args.dtype, "patchify", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Patchify<T> cut{args.pixels,
                    static_cast<T*>(args.patches),
                    static_cast<uint32_t>(args.image_size),
                    static_cast<uint32_t>(args.patch_size),
                    static_cast<uint32_t>(args.image_size / args.patch_size),
                    {},
                    {}};
    for (int c = 0; c < 3; ++c) {
      const double mean = args.mean[c], std = args.std[c];
      cut.scale[c] = static_cast<float>(1.0 / (255.0 * std));
      cut.shift[c] = static_cast<float>(-mean / std);
    }
    launch_each_piece<kVectorSize<T>>(stream, "patchify", args.batch * args.image_size * args.image_size * 3,
                                      aligned_16({args.patches}), cut);
  });
}

}  // namespace triptych::kernels
