#include "kernels/embedding.h"

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/embedding.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void embedding_forward_rows(const EmbeddingForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.table_dtype, [&](auto table_type) HWY_ATTR {
    with_float_type(args.dtype, [&](auto type) HWY_ATTR {
      for (int64_t i = begin; i < end; ++i) {
        auto* out = static_cast<decltype(type)*>(args.out) + i * args.cols;
        const int64_t row = int64_t{args.ids[i]} - args.vocab_begin;
        if (row < 0 || row >= args.vocab_local) {
          std::memset(static_cast<void*>(out), 0, static_cast<std::size_t>(args.cols) * sizeof(*out));
        } else {
          convert(static_cast<const decltype(table_type)*>(args.table) + row * args.cols, out, args.cols);
        }
      }
    });
  });
}

/// Columns [begin, end) of every row.
void embedding_backward_cols(const EmbeddingBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for (int64_t i = 0; i < args.n; ++i) {
      const int64_t row = int64_t{args.ids[i]} - args.vocab_begin;
      if (row < 0 || row >= args.vocab_local) continue;
      const auto* dout = static_cast<const decltype(type)*>(args.dout) + i * args.cols + begin;
      float* dtable = args.dtable + row * args.cols + begin;
      for_vectors(end - begin, [&](int64_t c, auto part) HWY_ATTR {
        store(hn::Add(load(dtable + c, part), load(dout + c, part)), dtable + c, part);
      });
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(embedding_forward_rows);
HWY_EXPORT(embedding_backward_cols);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) {
  check_float_dtype(args.table_dtype, "embedding_forward");
  check_float_dtype(args.dtype, "embedding_forward");
  parallel_ranges(stream, args.n, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(embedding_forward_rows)(args, begin, end);
  });
}

void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) {
  check_float_dtype(args.dtype, "embedding_backward");
  if (args.n <= 0) return;
  // Rows repeat, columns do not: each thread takes columns, at least a few cache lines of them.
  const int64_t grain = std::max<int64_t>(64, (grain_rows(args.n) + 63) / 64 * 64);
  parallel_ranges(stream, args.cols, grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(embedding_backward_cols)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
