#include "kernels/cuda/common.cuh"
#include "kernels/rotary_checks.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// A row is a head of one token of one part; its columns are the pairs.
template <typename T>
struct Rotation {
  const T* x;
  T* y;
  const float* table;
  int64_t seq;
  int64_t heads;  ///< of a part
  int64_t parts;
  int64_t rotated;  ///< heads of the rotated parts
  int64_t half;
  float sign;

  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t token = row / (parts * heads), head = row % (parts * heads);
    const int64_t at = 2 * row * half + c;
    Floats<N> low = load<N>(x + at, piece), high = load<N>(x + at + half, piece);
    if (head < rotated) {
      const float* angles = table + token % seq * 2 * half + c;
      const Floats<N> cosine = load<N>(angles, piece), sine = load<N>(angles + half, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float a = low[k], b = high[k], s = sign * sine[k];
        low[k] = fmaf(-b, s, __fmul_rn(a, cosine[k]));
        high[k] = fmaf(a, s, __fmul_rn(b, cosine[k]));
      }
    }
    store(low, y + at, piece);
    store(high, y + at + half, piece);
  }
};

}  // namespace

void rotary(Stream& stream, const RotaryArgs& args) {
  check_rotary(args);
  with_float_type(args.dtype, "rotary", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const int64_t heads = args.cols / args.head_dim, half = args.head_dim / 2;
    const Rotation<T> rotation{static_cast<const T*>(args.x),
                               static_cast<T*>(args.y),
                               args.table,
                               args.seq,
                               heads,
                               args.parts,
                               args.rotated * heads,
                               half,
                               args.inverse ? -1.0f : 1.0f};
    launch_each_row_piece<kVectorSize<T>>(stream, "rotary", args.batch * args.seq * args.parts * heads, half,
                                          aligned_16({args.x, args.y, args.table}, {half * kBytes}), rotation);
  });
}

}  // namespace triptych::kernels
