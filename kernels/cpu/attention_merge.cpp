#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_merge.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

// Tokens [begin, end) of all samples' one after the other.
void attention_merge_tokens(const AttentionMerge& call, int64_t begin, int64_t end) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  with_float_type(call.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t token = begin; token < end; ++token) {
      const int64_t sample = token / call.num_queries, query = token % call.num_queries;
      for (int64_t head = 0; head < call.num_heads; ++head) {
        const int64_t row = (sample * call.num_heads + head) * call.num_queries + query;
        const float before = call.lse_before[row], here = call.lse[row];
        const float largest = std::max(before, here);
        const bool is_empty = before == kNone && here == kNone;  // and not if one is NaN, which stays visible
        const float of_before = is_empty ? 0 : std::exp(before - largest),
                    of_here = is_empty ? 0 : std::exp(here - largest);
        const float sum = is_empty ? 1 : of_before + of_here;
        call.merged_lse[row] = is_empty ? kNone : largest + std::log(sum);
        const int64_t at = (token * call.num_heads + head) * call.head_dim;
        const T* const o = static_cast<const T*>(call.o) + at;
        float* const merged = call.merged + at;
        const Vec keep = hn::Set(kFloats, of_before / sum), add = hn::Set(kFloats, of_here / sum);
        for_vectors(call.head_dim, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::MulAdd(add, load(o + i, part), hn::Mul(keep, load(merged + i, part))), merged + i, part);
        });
      }
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(attention_merge_tokens);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void attention_merge(Stream& stream, const AttentionMerge& call) {
  check_float_dtype(call.dtype, "attention_merge");
  parallel_ranges(stream, call.batch * call.num_queries, grain_rows(call.num_heads * call.head_dim),
                  [&](int64_t begin, int64_t end) {
                    HWY_DYNAMIC_DISPATCH(attention_merge_tokens)
                    (call, begin, end);
                  });
}

}  // namespace triptych::kernels
#endif
