#include "kernels/random.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/random.cpp"
// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/philox.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

using Doubles = hn::ScalableTag<double>;
inline constexpr Doubles kDoubles{};

/// The normals of blocks [first_block, first_block + num_blocks), two a block; writes whole vectors, up to
/// kPhiloxPadding / 2 values more than asked for.
void normals_of_blocks(RandomKey key, uint64_t first_block, int64_t num_blocks, double* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(kDoubles));
  const PhiloxRounds rounds(key);
  for (int64_t block = 0; block < num_blocks; block += lanes) {
    const PhiloxVectors words = philox_vectors(rounds, first_block + static_cast<uint64_t>(block));
    const auto to_double = [](auto low_word) HWY_ATTR {
      // 2^52 + w as a double's bits, less 2^52: exact for 32-bit words.
      const hn::RebindToUnsigned<Doubles> bits;
      const auto mantissa = hn::And(low_word, hn::Set(bits, uint64_t{0xffffffff}));
      return hn::Sub(hn::BitCast(kDoubles, hn::Or(mantissa, hn::Set(bits, uint64_t{0x4330000000000000}))),
                     hn::Set(kDoubles, 0x1p52));
    };
    const auto unit = hn::Set(kDoubles, 0x1p-32);
    const auto u = hn::Mul(hn::Add(to_double(words.word0), hn::Set(kDoubles, 1.0)), unit);
    const auto v = hn::Mul(to_double(words.word1), unit);
    const auto radius = hn::Sqrt(hn::Mul(hn::Set(kDoubles, -2.0), hn::Log(kDoubles, u)));
    const auto angle = hn::Mul(hn::Set(kDoubles, 6.283185307179586476925), v);
    hn::StoreInterleaved2(hn::Mul(radius, hn::Cos(kDoubles, angle)), hn::Mul(radius, hn::Sin(kDoubles, angle)),
                          kDoubles, out + 2 * block);
  }
}

/// Elements [begin, end) of a row whose first has global index `global`.
void fill_normal_piece(const FillNormalArgs& args, int64_t row, int64_t begin, int64_t end) {
  constexpr int64_t kPiece = 1024;
  HWY_ALIGN double normals[kPiece + 2 + kPhiloxPadding];
  const auto mean = static_cast<double>(args.mean), std = static_cast<double>(args.std);
  for (int64_t c = begin; c < end; c += kPiece) {
    const int64_t count = std::min(kPiece, end - c);
    const auto first = static_cast<uint64_t>(args.begin + row * args.row_stride + c);
    const auto skipped = static_cast<int64_t>(first % 2);
    normals_of_blocks(args.key, first / 2, (skipped + count + 1) / 2, normals);
    float* out = args.out + row * args.cols + c;
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(mean + std * normals[skipped + i]);
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(fill_normal_piece);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void fill_normal(Stream& stream, const FillNormalArgs& args) {
  TRIPTYCH_CHECK(args.begin >= 0 && (args.rows <= 1 || args.row_stride >= 0),
                 "Global indices count from 0, found begin {} and row stride {}.", args.begin, args.row_stride);
  if (args.cols <= 0) return;
  parallel_ranges(stream, args.rows * args.cols, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / args.cols, c = i % args.cols;
      const int64_t count = std::min(end - i, args.cols - c);
      HWY_DYNAMIC_DISPATCH(fill_normal_piece)(args, row, c, c + count);
      i += count;
    }
  });
}

}  // namespace triptych::kernels
#endif
