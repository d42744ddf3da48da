#include "kernels/patchify.h"

#include <array>

#include "kernels/cpu/parallel.h"

namespace triptych::kernels {
namespace {

/// The 256 values that a channel's pixels can have: a pixel is then one load, whatever the normalisation and dtype.
template <typename T>
using ChannelTable = std::array<T, 256>;

template <typename T>
std::array<ChannelTable<T>, 3> make_tables(const PatchifyArgs& args) {
  std::array<ChannelTable<T>, 3> tables;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t pixel = 0; pixel < 256; ++pixel) {
      const double value = static_cast<double>(pixel) / 255.0 - static_cast<double>(args.mean[c]);
      tables[c][pixel] = T(static_cast<float>(value / static_cast<double>(args.std[c])));
    }
  }
  return tables;
}

template <typename T>
void patchify_typed(Stream& stream, const PatchifyArgs& args) {
  const std::array<ChannelTable<T>, 3> tables = make_tables<T>(args);
  const int64_t size = args.image_size, patch = args.patch_size, across = size / patch;
  // One row of patches of one image at a time.
  cpu::parallel_ranges(stream, args.batch * across, cpu::grain_rows(3 * size * patch), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const uint8_t* pixels = args.pixels + strip * patch * size * 3;
      T* patches = static_cast<T*>(args.patches) + strip * across * 3 * patch * patch;
      for (int64_t y = 0; y < patch; ++y) {
        for (int64_t p = 0; p < across; ++p) {
          const uint8_t* in = pixels + (y * size + p * patch) * 3;
          T* red = patches + (p * 3 * patch + y) * patch;
          T* green = red + patch * patch;
          T* blue = green + patch * patch;
          for (int64_t x = 0; x < patch; ++x) {
            red[x] = tables[0][in[3 * x]];
            green[x] = tables[1][in[3 * x + 1]];
            blue[x] = tables[2][in[3 * x + 2]];
          }
        }
      }
    }
  });
}

}  // namespace

void patchify(Stream& stream, const PatchifyArgs& args) {
  cpu::check_float_dtype(args.dtype, "patchify");
  TRIPTYCH_CHECK(args.patch_size > 0 && args.image_size > 0 && args.image_size % args.patch_size == 0,
                 "An image divides into whole patches, found sizes {} and {}.", args.image_size, args.patch_size);
  TRIPTYCH_CHECK(args.std[0] > 0.0f && args.std[1] > 0.0f && args.std[2] > 0.0f,
                 "Standard deviations are positive, found {}, {}, {}.", args.std[0], args.std[1], args.std[2]);
  if (args.dtype == DType::kBFloat16) {
    patchify_typed<BFloat16>(stream, args);
  } else {
    patchify_typed<float>(stream, args);
  }
}

}  // namespace triptych::kernels
