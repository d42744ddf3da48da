#include "kernels/pooling.h"

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pooling.cpp"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sum_rows.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void mean_pool_range(const PoolForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.out_dtype, [&](auto out_type) HWY_ATTR {
      constexpr int64_t kPanel = 1024;
      HWY_ALIGN float mean[kPanel];
      for (int64_t b = begin; b < end; ++b) {
        const int64_t length = args.lengths == nullptr ? args.seq : args.lengths[b];
        const float scale = length == 0 ? 0.0f : 1.0f / static_cast<float>(length);
        for (int64_t c = 0; c < args.cols; c += kPanel) {
          const int64_t width = args.cols - c < kPanel ? args.cols - c : kPanel;
          sum_rows_into<false>(static_cast<const decltype(type)*>(args.x) + b * args.seq * args.cols + c, length, width,
                               args.cols, scale, mean);
          convert(mean, static_cast<decltype(out_type)*>(args.out) + b * args.cols + c, width);
        }
      }
    });
  });
}

void mean_pool_backward_range(const PoolBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.out_dtype, [&](auto out_type) HWY_ATTR {
      using T = decltype(type);
      for (int64_t b = begin; b < end; ++b) {
        const int64_t length = args.lengths == nullptr ? args.seq : args.lengths[b];
        const auto* dout = static_cast<const decltype(out_type)*>(args.dout) + b * args.cols;
        T* dx = static_cast<T*>(args.dx) + b * args.seq * args.cols;
        const Vec scale = hn::Set(kFloats, length == 0 ? 0.0f : 1.0f / static_cast<float>(length));
        const auto row_bytes = static_cast<std::size_t>(args.cols) * sizeof(T);
        for (int64_t s = 0; s < args.seq; ++s) {
          T* row = dx + s * args.cols;
          if (s >= length) {
            std::memset(static_cast<void*>(row), 0, row_bytes);
          } else if (s > 0) {
            std::memcpy(row, dx, row_bytes);
          } else {
            for_vectors(args.cols, [&](int64_t i, auto part)
                                       HWY_ATTR { store(hn::Mul(scale, load(dout + i, part)), row + i, part); });
          }
        }
      }
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(mean_pool_range);
HWY_EXPORT(mean_pool_backward_range);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

template <typename Args>
void check_lengths(const Args& args, const char* kernel) {
  check_float_dtype(args.dtype, kernel);
  check_float_dtype(args.out_dtype, kernel);
  if (args.lengths == nullptr) return;
  for (int64_t b = 0; b < args.batch; ++b) {
    TRIPTYCH_CHECK(args.lengths[b] >= 0 && args.lengths[b] <= args.seq, "{} needs 0 <= {} <= {} (sample {}).", kernel,
                   args.lengths[b], args.seq, b);
  }
}

}  // namespace

void mean_pool(Stream& stream, const PoolForwardArgs& args) {
  check_lengths(args, "mean_pool");
  parallel_ranges(stream, args.batch, grain_rows(args.cols * args.seq), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(mean_pool_range)(args, begin, end);
  });
}

void mean_pool_backward(Stream& stream, const PoolBackwardArgs& args) {
  check_lengths(args, "mean_pool_backward");
  parallel_ranges(stream, args.batch, grain_rows(args.cols * args.seq), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(mean_pool_backward_range)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
