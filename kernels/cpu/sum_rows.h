// Sums over rows, for sum_rows itself and for the kernels that end in one. Included once for every target, like simd.h.

#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_SUM_ROWS_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_SUM_ROWS_H
#undef TRIPTYCH_KERNELS_CPU_SUM_ROWS_H
#else
#define TRIPTYCH_KERNELS_CPU_SUM_ROWS_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// out[c] = scale * (sum over rows of x[r * stride + c]) (+ out[c] if kAccumulate). Four rows at a time, in blocks of
/// 64, so the rounding grows with rows / 64; a panel of columns keeps its sums in the first-level cache.
template <bool kAccumulate, typename T>
void sum_rows_into(const T* x, int64_t rows, int64_t cols, int64_t stride, float scale, float* out) {
  constexpr int64_t kPanel = 1024, kBlock = 64;
  HWY_ALIGN float total[kPanel];
  HWY_ALIGN float block[kPanel];
  for (int64_t begin = 0; begin < cols; begin += kPanel) {
    const int64_t width = cols - begin < kPanel ? cols - begin : kPanel;
    std::memset(total, 0, sizeof(total));
    for (int64_t row = 0; row < rows; row += kBlock) {
      const int64_t end = rows - row < kBlock ? rows : row + kBlock;
      std::memset(block, 0, sizeof(block));
      int64_t r = row;
      for (; r + 4 <= end; r += 4) {
        const T* p = x + r * stride + begin;
        for_vectors(width, [&](int64_t i, auto part) HWY_ATTR {
          const Vec a = hn::Add(load(p + i, part), load(p + stride + i, part));
          const Vec b = hn::Add(load(p + 2 * stride + i, part), load(p + 3 * stride + i, part));
          store(hn::Add(load(block + i), hn::Add(a, b)), block + i);  // the arrays are whole vectors long
        });
      }
      for (; r < end; ++r) {
        const T* p = x + r * stride + begin;
        for_vectors(width, [&](int64_t i, auto part)
                               HWY_ATTR { store(hn::Add(load(block + i), load(p + i, part)), block + i); });
      }
      for_vectors(width,
                  [&](int64_t i, auto) HWY_ATTR { store(hn::Add(load(total + i), load(block + i)), total + i); });
    }
    const Vec factor = hn::Set(kFloats, scale);
    for_vectors(width, [&](int64_t i, auto part) HWY_ATTR {
      const Vec sum = hn::Mul(factor, load(total + i));
      store(kAccumulate ? hn::Add(load(out + begin + i, part), sum) : sum, out + begin + i, part);
    });
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
