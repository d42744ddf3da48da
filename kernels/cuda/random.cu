#include "base/error.h"
#include "base/philox.h"
#include "kernels/cuda/common.cuh"
#include "kernels/random.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// Element (row, c) of the window is the global element begin + row * row_stride + c. A block of Philox gives the two
/// normals of an even global element and the next, so a thread takes such a pair, of which the window may have one.
struct FillNormal {
  FillNormalArgs args;
  __device__ void operator()(int64_t row, int64_t pair, Piece<1>) const {
    const auto first = static_cast<uint64_t>(args.begin + row * args.row_stride);
    const int64_t c = 2 * pair - static_cast<int64_t>(first % 2);
    if (c >= args.cols) return;
    // As philox_normal, but by sincospi, which needs no reduction of its argument.
    const std::array<uint32_t, 4> words = philox4x32(args.key, first / 2 + static_cast<uint64_t>(pair));
    const double u = (static_cast<double>(words[0]) + 1.0) * 0x1.0p-32;
    const double radius = sqrt(-2.0 * log(u));
    double sine, cosine;
    sincospi(static_cast<double>(words[1]) * 0x1.0p-31, &sine, &cosine);
    float* out = args.out + row * args.cols + c;
    const auto mean = static_cast<double>(args.mean), std = static_cast<double>(args.std);
    if (c >= 0) out[0] = static_cast<float>(fma(std, radius * cosine, mean));
    if (c + 1 < args.cols) out[1] = static_cast<float>(fma(std, radius * sine, mean));
  }
};

}  // namespace

void fill_normal(Stream& stream, const FillNormalArgs& args) {
  TRIPTYCH_CHECK(args.begin >= 0 && (args.rows <= 1 || args.row_stride >= 0),
                 "Global indices count from 0, found begin {} and row stride {}.", args.begin, args.row_stride);
  if (args.cols <= 0) return;
  launch_each_row_piece<1>(stream, "fill_normal", args.rows, args.cols / 2 + 1, true, FillNormal{args});
}

}  // namespace triptych::kernels
