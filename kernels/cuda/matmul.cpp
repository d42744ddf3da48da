#include "kernels/matmul.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "device/cuda/handles.h"
#include "device/cuda/launch.h"
#include "kernels/cuda/cublaslt_handles.h"
#include "kernels/cuda/matmul_without_terms.h"
#include "kernels/cuda/workspace.h"
#include "kernels/elementwise.h"
#include "kernels/matmul_shapes.h"

// cuBLASLt's GELU epilogues are not used: they take the tanh approximation, and activation.h's kGelu is exact.

namespace triptych::kernels {
namespace {

using cuda::MatmulDescriptor;
using cuda::MatrixLayout;

/// What NVIDIA recommends for Hopper and later; it is plenty for older ones.
constexpr std::size_t kWorkspaceBytes = 32 << 20;

cudaDataType_t to_cuda(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return CUDA_R_16BF;
    case DType::kFloat16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

void check_types(const Matmul& p) {
  const bool has_inputs =
      p.input_dtype == DType::kFloat32 || p.input_dtype == DType::kBFloat16 || p.input_dtype == DType::kFloat16;
  TRIPTYCH_CHECK(has_inputs && (p.output_dtype == DType::kFloat32 || p.output_dtype == p.input_dtype),
                 "matmul has no CUDA implementation from {} to {}", dtype_name(p.input_dtype),
                 dtype_name(p.output_dtype));
}

/// The largest power of two up to 256 that an address is a multiple of. Strides need none: the layouts tell them.
uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return static_cast<uint32_t>(std::min<uintptr_t>(256, bits & -bits));
}

/// A product with its descriptors and the algorithm that the library's heuristic chose for it.
///
/// The library is column-major, where our row-major matrices are their transposes: it computes C^T = op(B)^T op(A)^T,
/// so B is its first matrix and A its second. Its bias runs along C^T's rows, which are our columns; its BGRADB sums
/// its second matrix over k.
class PlannedMatmul {
 public:
  /// `vector` is what the epilogue reads or writes: a bias, which is of the output's type, or where A's sums go, as the
  /// product wants them; else null.
  PlannedMatmul(const Matmul& p, const void* vector, bool tf32, cublasLtHandle_t library);

  /// False if A's sums are wanted and the library has no algorithm that takes them on the way.
  bool sums_a() const { return sums_a_; }

  void run(const Matmul& p, const void* vector, cublasLtHandle_t library, void* workspace, cudaStream_t stream);

 private:
  void set_epilogue(cublasLtEpilogue_t epilogue, DType dtype, const void* vector);
  bool find_algorithm(const Matmul& p, cublasLtHandle_t library);
  static MatrixLayout layout(int64_t rows, int64_t columns, DType dtype, int64_t row_stride, const Matmul& p,
                             int64_t batch_stride);

  MatmulDescriptor descriptor_;
  MatrixLayout a_, b_, c_;
  cublasLtMatmulAlgo_t algorithm_;
  cublasStatus_t found_status_ = CUBLAS_STATUS_SUCCESS;  ///< the heuristic's last answer
  bool sums_a_ = false;
};

/// Of a row-major matrix as it is stored.
MatrixLayout PlannedMatmul::layout(int64_t rows, int64_t columns, DType dtype, int64_t row_stride, const Matmul& p,
                                   int64_t batch_stride) {
  MatrixLayout made(to_cuda(dtype), columns, rows, row_stride);
  if (p.batch > 1) {
    made.set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, narrow<int32_t>(p.batch));
    made.set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, batch_stride);
  }
  return made;
}

PlannedMatmul::PlannedMatmul(const Matmul& p, const void* vector, bool tf32, cublasLtHandle_t library)
    : descriptor_(tf32 && p.input_dtype == DType::kFloat32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F),
      a_(layout(p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.input_dtype, p.a_row_stride, p,
                p.a_batch_stride)),
      b_(layout(p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.input_dtype, p.b_row_stride, p,
                p.b_batch_stride)),
      c_(layout(p.m, p.n, p.output_dtype, p.c_row_stride, p, p.c_batch_stride)) {
  const auto operation = [](bool transpose) { return static_cast<int32_t>(transpose ? CUBLAS_OP_T : CUBLAS_OP_N); };
  descriptor_.set(CUBLASLT_MATMUL_DESC_TRANSA, operation(p.transpose_b));
  descriptor_.set(CUBLASLT_MATMUL_DESC_TRANSB, operation(p.transpose_a));
  if (p.a_sums) {
    set_epilogue(CUBLASLT_EPILOGUE_BGRADB, p.output_dtype, vector);
    sums_a_ = find_algorithm(p, library);
    if (sums_a_) return;
    set_epilogue(CUBLASLT_EPILOGUE_DEFAULT, p.output_dtype, nullptr);
  } else if (p.bias != nullptr) {
    set_epilogue(CUBLASLT_EPILOGUE_BIAS, p.output_dtype, vector);
  }
  if (!find_algorithm(p, library)) {
    throw InternalError(
        "matmul", fmt::format("cuBLASLt has no algorithm for [{}, {}] x [{}, {}] of {} to {}{}, strides {}, {}, "
                              "{}, batch {}: its heuristic says {}",
                              p.m, p.k, p.k, p.n, dtype_name(p.input_dtype), dtype_name(p.output_dtype),
                              p.bias != nullptr ? " with bias" : "", p.a_row_stride, p.b_row_stride, p.c_row_stride,
                              p.batch, cublasLtGetStatusName(found_status_)));
  }
}

void PlannedMatmul::set_epilogue(cublasLtEpilogue_t epilogue, DType dtype, const void* vector) {
  descriptor_.set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(epilogue));
  descriptor_.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(to_cuda(dtype)));
  descriptor_.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);  // the heuristic looks at its alignment
}

bool PlannedMatmul::find_algorithm(const Matmul& p, cublasLtHandle_t library) {
  cuda::MatmulPreference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  // Parts of a sum that is split are float32 too, whatever the output.
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.c));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.c));
  cublasLtMatmulHeuristicResult_t best{};
  int num_found = 0;
  found_status_ = cublasLtMatmulAlgoGetHeuristic(library, descriptor_.get(), b_.get(), a_.get(), c_.get(), c_.get(),
                                                 preference.get(), 1, &best, &num_found);
  // Which of the two it answers where it has nothing differs with its version and the epilogue.
  if (found_status_ == CUBLAS_STATUS_NOT_SUPPORTED || found_status_ == CUBLAS_STATUS_INVALID_VALUE) return false;
  cuda::check_cublaslt(found_status_, "cublasLtMatmulAlgoGetHeuristic");
  algorithm_ = best.algo;
  return num_found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
}

void PlannedMatmul::run(const Matmul& p, const void* vector, cublasLtHandle_t library, void* workspace,
                        cudaStream_t stream) {
  if (sums_a_ || p.bias != nullptr) descriptor_.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
  const float alpha = 1.0f, beta = p.accumulate ? 1.0f : 0.0f;
  TRIPTYCH_CUBLASLT(cublasLtMatmul(library, descriptor_.get(), &alpha, p.b, b_.get(), p.a, a_.get(), &beta, p.c,
                                   c_.get(), p.c, c_.get(), &algorithm_, workspace, kWorkspaceBytes, stream));
}

/// What a stream keeps: one product at a time runs on it, so that all may share the workspace.
struct MatmulState {
  bool tf32 = false;
  cuda::CublasLt library;
  cuda::Workspace workspace;
  PreparedMatmuls<PlannedMatmul> prepared;
};

/// What a plan depends on beside the shape.
uint64_t variant_of(const Matmul& p, const void* vector, bool tf32) {
  uint64_t variant = tf32 ? 1 : 0;
  for (const void* address : {p.a, p.b, static_cast<const void*>(p.c), vector}) {
    variant = variant << 12 | alignment_of(address);
  }
  return variant;
}

/// What the epilogue reads or writes, in the stream's scratch where it is not the product's own.
const void* epilogue_vector(Stream& stream, const Matmul& p) {
  const auto scratch = [&](int64_t count, DType dtype) -> void* {
    return stream.scratch(static_cast<std::size_t>(count) * dtype_bytes(dtype));
  };
  // The library assigns sums, and never adds to them.
  if (p.a_sums) return p.a_sums.assign ? p.a_sums.data : scratch(p.m, DType::kFloat32);
  // It takes a bias of the output's type alone, so a 16-bit output gets it rounded, within the unit roundoff of what is
  // rounded to that type afterwards anyway.
  if (p.bias == nullptr || p.output_dtype == DType::kFloat32) return p.bias;
  void* const rounded = scratch(p.n, p.output_dtype);
  cast(stream, p.bias, DType::kFloat32, rounded, p.output_dtype, p.n);
  return rounded;
}

/// A's sums by a kernel of our own.
void sum_a(Stream& stream, const Matmul& p) {
  sum_rows(stream, {p.a, p.a_sums, p.k, p.m, p.a_row_stride, p.input_dtype});
}

}  // namespace

void allow_tf32(Stream& stream, bool allowed) {
  stream.state<MatmulState>().tf32 = allowed;
}

void matmul(Stream& stream, const Matmul& product) {
  check_types(product);
  const Matmul p = resolve_matmul(product);
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.k == 0) {
    if (p.a_sums) sum_a(stream, p);
    return cuda::matmul_without_terms(stream, p);
  }
  MatmulState& state = stream.state<MatmulState>();
  const void* const vector = epilogue_vector(stream, p);
  PlannedMatmul& plan = state.prepared.find_or(MatmulKey(p, variant_of(p, vector, state.tf32)), [&] {
    return PlannedMatmul(p, vector, state.tf32, state.library.get());
  });
  plan.run(p, vector, state.library.get(), state.workspace.get(kWorkspaceBytes, stream), cuda_stream(stream));
  if (!p.a_sums) return;
  if (!plan.sums_a()) return sum_a(stream, p);
  if (!p.a_sums.assign) add_into(stream, p.a_sums.data, vector, p.m, DType::kFloat32);
}

}  // namespace triptych::kernels
