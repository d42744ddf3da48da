#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/multi_tensor.cuh"
#include "kernels/optimizer.h"
#include "kernels/update_decision.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

constexpr int64_t kBlockElements = 4096;

/// What the kernel needs of an AdamWTensor.
struct Tensor {
  float *master, *m, *v;
  const float* grad;
  void* copy;
  int64_t n;
  float decay;  ///< 1 - lr * weight_decay
  float maximum;
  bool copy_is_float16;
  bool vectors;  ///< every address is aligned for 16-byte accesses (the copy: for 8)
};

struct AdamWFactors {
  float lr, beta1, beta2, eps;
};

/// beta^n by squaring: 1 - beta^n is off by at most some 2^-53 / (1 - beta) of it, 1e-12 for a beta of 0.9999.
__device__ inline double power(float beta, int64_t n) {
  double result = 1.0;
  for (double square = beta; n > 0; n /= 2, square *= square) {
    if (n % 2 != 0) result *= square;
  }
  return result;
}

/// As in the CPU's implementation, a rounding at every step that it has one.
__device__ inline void update(float grad, float& m, float& v, float& master, float step_size, float inv_root_correct,
                              float rest1, float rest2, float decay, float maximum, const AdamWFactors& f) {
  m = __fmaf_rn(f.beta1, m, __fmul_rn(rest1, grad));
  v = __fmaf_rn(f.beta2, v, __fmul_rn(__fmul_rn(rest2, grad), grad));
  const float root = __fmaf_rn(__fsqrt_rn(v), inv_root_correct, f.eps);
  const float updated = __fmaf_rn(decay, master, -__fmul_rn(step_size, __fdiv_rn(m, root)));
  master = updated > maximum ? maximum : updated;
}

__global__ void __launch_bounds__(kBlockThreads)
    adamw_kernel(const __grid_constant__ TensorList<Tensor> list, AdamWFactors factors, const UpdateState* state) {
  if (state->apply == 0) return;
  __shared__ float corrections[2];
  if (threadIdx.x == 0) {
    const int64_t num_updates = state->num_updates;
    corrections[0] = static_cast<float>(static_cast<double>(factors.lr) / (1.0 - power(factors.beta1, num_updates)));
    corrections[1] = static_cast<float>(1.0 / sqrt(1.0 - power(factors.beta2, num_updates)));
  }
  __syncthreads();
  const float step_size = corrections[0], inv_root_correct = corrections[1];
  const float rest1 = static_cast<float>(1.0 - static_cast<double>(factors.beta1));
  const float rest2 = static_cast<float>(1.0 - static_cast<double>(factors.beta2));
  const float grad_scale = state->gradient_factor;
  const TensorPiece piece = piece_of_block<kBlockElements>(list);
  const Tensor& t = list.tensors[piece.tensor];
  for (int64_t i = piece.begin + threadIdx.x * 4; i < piece.end; i += kBlockThreads * 4) {
    const Piece<4> elements = piece_of<4>(piece.end - i, t.vectors);
    const Floats<4> grad = load(t.grad + i, elements);
    Floats<4> m = load(t.m + i, elements), v = load(t.v + i, elements), master = load(t.master + i, elements);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      update(__fmul_rn(grad[j], grad_scale), m[j], v[j], master[j], step_size, inv_root_correct, rest1, rest2, t.decay,
             t.maximum, factors);
    }
    store(m, t.m + i, elements);
    store(v, t.v + i, elements);
    store(master, t.master + i, elements);
    if (t.copy != nullptr && t.copy_is_float16) store(master, static_cast<__half*>(t.copy) + i, elements);
    if (t.copy != nullptr && !t.copy_is_float16) store(master, static_cast<__nv_bfloat16*>(t.copy) + i, elements);
  }
}

/// One thread: some ten operations on values that are in device memory.
__global__ void decide_update_kernel(DecideUpdateArgs args) {
  *args.norm = sqrt(*args.squared_norm) / static_cast<double>(args.state->loss_scale);
  *args.state = decided_update(*args.state, *args.loss, *args.norm, args);
}

Tensor to_kernel(const AdamWTensor& t, float lr) {
  TRIPTYCH_CHECK(t.copy == nullptr || t.copy_dtype == DType::kBFloat16 || t.copy_dtype == DType::kFloat16,
                 "adamw has no CUDA implementation for copies of {}.", dtype_name(t.copy_dtype));
  return {.master = t.master,
          .m = t.m,
          .v = t.v,
          .grad = t.grad,
          .copy = t.copy,
          .n = t.n,
          .decay = static_cast<float>(1.0 - static_cast<double>(lr) * static_cast<double>(t.weight_decay)),
          .maximum = t.maximum,
          .copy_is_float16 = t.copy_dtype == DType::kFloat16,
          .vectors = aligned_16({t.master, t.m, t.v, t.grad}) && reinterpret_cast<uintptr_t>(t.copy) % 8 == 0};
}

}  // namespace

void decide_update(Stream& stream, const DecideUpdateArgs& args) {
  decide_update_kernel<<<1, 1, 0, cuda_stream(stream)>>>(args);
  check_launch("decide_update");
}

void adamw(Stream& stream, const AdamWArgs& args) {
  std::vector<Tensor> tensors;
  tensors.reserve(args.tensors.size());
  for (const AdamWTensor& tensor : args.tensors) tensors.push_back(to_kernel(tensor, args.lr));
  for_tensor_lists<kBlockElements, Tensor>(tensors, [&](const TensorList<Tensor>& list, unsigned blocks) {
    adamw_kernel<<<blocks, kBlockThreads, 0, cuda_stream(stream)>>>(list, {args.lr, args.beta1, args.beta2, args.eps},
                                                                    args.state);
    check_launch("adamw");
  });
}

}  // namespace triptych::kernels
