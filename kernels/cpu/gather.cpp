#include "kernels/gather.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gather.cpp"
#include "kernels/cpu/simd.h"

#ifndef TRIPTYCH_KERNELS_CPU_GATHER
#define TRIPTYCH_KERNELS_CPU_GATHER
namespace triptych::kernels::cpu {

/// Which of its sample's tokens the i-th of [batch, count] takes; negative: none.
inline int64_t gathered_token(const GatheredTokens& tokens, int64_t i) {
  const int64_t index = tokens.index == nullptr ? 0 : tokens.index[i];
  return index < 0 ? -1 : index + tokens.offset;
}

}  // namespace triptych::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// Of [batch, count].
void gather_range(const GatherForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.out_dtype, [&](auto out_type) HWY_ATTR {
      const GatheredTokens& tokens = args.tokens;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t sample = i / tokens.count, s = gathered_token(tokens, i);
        auto* out = static_cast<decltype(out_type)*>(args.out) + i * tokens.cols;
        if (s < 0) {
          std::fill(out, out + tokens.cols, decltype(out_type)());
        } else {
          convert(static_cast<const decltype(type)*>(args.x) + (sample * tokens.seq + s) * tokens.cols, out,
                  tokens.cols);
        }
      }
    });
  });
}

/// dx = the sum of the rows that the tokens from `first` on take of the same token as `first`, of a sample's.
template <typename Out, typename T>
void sum_repeated(const GatheredTokens& tokens, int64_t sample, int64_t first, const Out* dout, T* dx) {
  constexpr int64_t kPanel = 1024;
  HWY_ALIGN float sum[kPanel];
  const int64_t s = gathered_token(tokens, sample * tokens.count + first);
  for (int64_t begin = 0; begin < tokens.cols; begin += kPanel) {
    const int64_t width = std::min(kPanel, tokens.cols - begin);
    convert(dout + first * tokens.cols + begin, sum, width);
    for (int64_t i = first + 1; i < tokens.count; ++i) {
      if (gathered_token(tokens, sample * tokens.count + i) != s) continue;
      const Out* more = dout + i * tokens.cols + begin;
      for_vectors(width,
                  [&](int64_t c, auto part) HWY_ATTR { store(hn::Add(load(sum + c), load(more + c, part)), sum + c); });
    }
    convert(sum, dx + begin, width);
  }
}

/// Of samples.
void gather_backward_range(const GatherBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.out_dtype, [&](auto out_type) HWY_ATTR {
      const GatheredTokens& tokens = args.tokens;
      for (int64_t b = begin; b < end; ++b) {
        const auto* dout = static_cast<const decltype(out_type)*>(args.dout) + b * tokens.count * tokens.cols;
        auto* dx = static_cast<decltype(type)*>(args.dx) + b * tokens.seq * tokens.cols;
        std::memset(static_cast<void*>(dx), 0, static_cast<std::size_t>(tokens.seq * tokens.cols) * sizeof(*dx));
        for (int64_t i = 0; i < tokens.count; ++i) {
          const int64_t s = gathered_token(tokens, b * tokens.count + i);
          const auto same_token = [&](int64_t j) { return gathered_token(tokens, b * tokens.count + j) == s; };
          bool is_first = s >= 0;
          for (int64_t j = 0; is_first && j < i; ++j) is_first = !same_token(j);
          if (is_first) sum_repeated(tokens, b, i, dout, dx + s * tokens.cols);
        }
      }
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(gather_range);
HWY_EXPORT(gather_backward_range);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

template <typename Args>
void check_gather(const Args& args, const char* kernel) {
  check_float_dtype(args.dtype, kernel);
  check_float_dtype(args.out_dtype, kernel);
  const GatheredTokens& tokens = args.tokens;
  for (int64_t i = 0; i < tokens.batch * tokens.count; ++i) {
    if (tokens.index != nullptr && tokens.index[i] < 0) continue;
    const int64_t s = (tokens.index == nullptr ? 0 : int64_t{tokens.index[i]}) + tokens.offset;
    TRIPTYCH_CHECK(s >= 0 && s < tokens.seq, "{} needs 0 <= {} < {} (sample {}, token {}).", kernel, s, tokens.seq,
                   i / tokens.count, i % tokens.count);
  }
}

}  // namespace

void gather_tokens(Stream& stream, const GatherForwardArgs& args) {
  check_gather(args, "gather_tokens");
  const GatheredTokens& tokens = args.tokens;
  parallel_ranges(stream, tokens.batch * tokens.count, grain_rows(tokens.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(gather_range)(args, begin, end);
  });
}

void gather_tokens_backward(Stream& stream, const GatherBackwardArgs& args) {
  check_gather(args, "gather_tokens_backward");
  const GatheredTokens& tokens = args.tokens;
  parallel_ranges(stream, tokens.batch, grain_rows(tokens.cols * tokens.seq), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(gather_backward_range)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
