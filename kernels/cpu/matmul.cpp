#include "kernels/matmul.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/error.h"
#include "kernels/cpu/matmul_prepared.h"
#include "kernels/elementwise.h"
#include "kernels/matmul_shapes.h"

namespace triptych::kernels {
namespace {

struct MatmulState {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  PreparedMatmuls<cpu::PreparedMatmul> prepared;
};

/// oneDNN runs on as many threads as OpenMP would give the calling thread; that setting is the thread's own.
class NumThreadsScope {
 public:
  explicit NumThreadsScope(int num_threads) : before_(omp_get_max_threads()) {
    if (before_ != num_threads) omp_set_num_threads(num_threads);
    changed_ = before_ != num_threads;
  }
  ~NumThreadsScope() {
    if (changed_) omp_set_num_threads(before_);
  }
  NumThreadsScope(const NumThreadsScope&) = delete;
  NumThreadsScope& operator=(const NumThreadsScope&) = delete;

 private:
  int before_;
  bool changed_ = false;
};

void check_types(const Matmul& p) {
  const bool float_inputs = p.input_dtype == DType::kFloat32;
  TRIPTYCH_CHECK(float_inputs || p.input_dtype == DType::kBFloat16, "matmul has no CPU implementation for inputs of {}",
                 dtype_name(p.input_dtype));
  TRIPTYCH_CHECK(p.output_dtype == DType::kFloat32 || (p.output_dtype == DType::kBFloat16 && !float_inputs),
                 "matmul has no CPU implementation from {} to {}", dtype_name(p.input_dtype),
                 dtype_name(p.output_dtype));
}

/// The product of no terms: C = bias or 0, or C += bias.
template <typename T>
void without_terms(const Matmul& p) {
  for (int64_t index = 0; index < p.batch; ++index) {
    for (int64_t row = 0; row < p.m; ++row) {
      T* c = static_cast<T*>(p.c) + index * p.c_batch_stride + row * p.c_row_stride;
      for (int64_t column = 0; column < p.n; ++column) {
        const float before = p.accumulate ? static_cast<float>(c[column]) : 0.0f;
        c[column] = static_cast<T>(before + (p.bias != nullptr ? p.bias[column] : 0.0f));
      }
    }
  }
}

}  // namespace

void allow_tf32(Stream&, bool allowed) {
  if (allowed) {
    throw UserError("matmul",
                    "TF32 is an option of CUDA, found on the CPU backend. Leave it out, or run triptych-cuda.");
  }
}

void matmul(Stream& stream, const Matmul& product) {
  check_types(product);
  const Matmul p = resolve_matmul(product);
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.a_sums) sum_rows(stream, {p.a, p.a_sums, p.k, p.m, p.a_row_stride, p.input_dtype});
  if (p.k == 0) {
    if (p.output_dtype == DType::kFloat32) {
      without_terms<float>(p);
    } else {
      without_terms<BFloat16>(p);
    }
    return;
  }
  const NumThreadsScope threads(stream.num_threads());
  MatmulState& state = stream.state<MatmulState>();
  try {
    state.prepared.find_or(MatmulKey(p, 0), [&] { return cpu::PreparedMatmul(p, state.engine); })
        .run(p, state.stream, stream);
  } catch (const dnnl::error& error) {
    throw InternalError("matmul", fmt::format("oneDNN refused [{}, {}] x [{}, {}] of {} to {}: {}", p.m, p.k, p.k, p.n,
                                              dtype_name(p.input_dtype), dtype_name(p.output_dtype), error.what()));
  }
}

}  // namespace triptych::kernels
