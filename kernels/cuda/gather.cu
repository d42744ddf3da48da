#include "kernels/cuda/token_rows.cuh"
#include "kernels/gather.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <int N>
__device__ inline Floats<N> filled(float value) {
  Floats<N> result;
#pragma unroll
  for (int k = 0; k < N; ++k) result[k] = value;
  return result;
}

/// Which of its sample's tokens are taken.
struct Gathered {
  const int32_t* index;  ///< or null
  int32_t offset;
  int64_t seq;
  int64_t count;

  static constexpr int64_t kNone = -1, kBroken = -2;
  /// By the i-th of [batch, count]; kNone: zeros, kBroken: the contract is broken.
  __device__ int64_t operator()(int64_t i) const {
    const int64_t at = index == nullptr ? 0 : index[i];
    if (at < 0) return kNone;
    const int64_t s = at + offset;
    return s >= 0 && s < seq ? s : kBroken;
  }
};

/// A row of [batch, count] at a time.
template <typename X, typename Out>
struct GatherTokens {
  const X* x;
  Out* out;
  Gathered gathered;
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t s = gathered(row), sample = row / gathered.count;
    store(s < 0 ? filled<N>(s == Gathered::kNone ? 0.0f : nanf(""))
                : load<N>(x + (sample * gathered.seq + s) * cols + c, piece),
          out + row * cols + c, piece);
  }
};

/// A row of [batch, seq] at a time: it looks for itself among the tokens that its sample gives.
template <typename Out, typename X>
struct GatherTokensBackward {
  const Out* dout;
  X* dx;
  Gathered gathered;
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t first = row / gathered.seq * gathered.count, token = row % gathered.seq;
    Floats<N> gradient = filled<N>(-0.0f);  // to which anything may be added and keeps its bits
    bool found = false, broken = false;
    for (int64_t i = first; i < first + gathered.count; ++i) {
      const int64_t s = gathered(i);
      broken |= s == Gathered::kBroken;
      if (s != token) continue;
      found = true;
      const Floats<N> more = load<N>(dout + i * cols + c, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) gradient[k] += more[k];
    }
    if (broken || !found) gradient = filled<N>(broken ? nanf("") : 0.0f);
    store(gradient, dx + row * cols + c, piece);
  }
};

Gathered gathered_of(const GatheredTokens& tokens) {
  return {tokens.index, tokens.offset, tokens.seq, tokens.count};
}

}  // namespace

void gather_tokens(Stream& stream, const GatherForwardArgs& args) {
  const GatheredTokens& tokens = args.tokens;
  launch_rows<GatherTokens>(stream, "gather_tokens", tokens.batch * tokens.count, tokens.cols, args.x, args.dtype,
                            args.out, args.out_dtype, gathered_of(tokens));
}

void gather_tokens_backward(Stream& stream, const GatherBackwardArgs& args) {
  const GatheredTokens& tokens = args.tokens;
  launch_rows<GatherTokensBackward>(stream, "gather_tokens_backward", tokens.batch * tokens.seq, tokens.cols, args.dout,
                                    args.out_dtype, args.dx, args.dtype, gathered_of(tokens));
}

}  // namespace triptych::kernels
