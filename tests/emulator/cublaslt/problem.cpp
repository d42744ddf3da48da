#include "emulator/cublaslt/problem.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <xxhash.h>

#include "emulator/cublaslt/element_types.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

std::optional<Epilogue> epilogue_of(uint32_t value) {
  Epilogue is;
  switch (value) {
    case CUBLASLT_EPILOGUE_DEFAULT:
      return is;
    case CUBLASLT_EPILOGUE_BIAS:
      is.adds_bias = true;
      return is;
    case CUBLASLT_EPILOGUE_RELU:
      is.relu = true;
      return is;
    case CUBLASLT_EPILOGUE_RELU_BIAS:
      is.relu = is.adds_bias = true;
      return is;
    case CUBLASLT_EPILOGUE_GELU:
      is.gelu = true;
      return is;
    case CUBLASLT_EPILOGUE_GELU_BIAS:
      is.gelu = is.adds_bias = true;
      return is;
    case CUBLASLT_EPILOGUE_GELU_AUX:
      is.gelu = is.writes_aux = true;
      return is;
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
      is.gelu = is.writes_aux = is.adds_bias = true;
      return is;
    case CUBLASLT_EPILOGUE_DGELU:
      is.gelu_gradient = true;
      return is;
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
      is.gelu_gradient = is.sums_columns = true;
      return is;
    case CUBLASLT_EPILOGUE_BGRADA:
      is.sums_a = true;
      return is;
    case CUBLASLT_EPILOGUE_BGRADB:
      is.sums_b = true;
      return is;
    default:
      return std::nullopt;
  }
}

bool is_documented_compute_type(int32_t type) {
  switch (type) {
    case CUBLAS_COMPUTE_16F:
    case CUBLAS_COMPUTE_16F_PEDANTIC:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
    case CUBLAS_COMPUTE_32F_FAST_16F:
    case CUBLAS_COMPUTE_32F_FAST_16BF:
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
    case CUBLAS_COMPUTE_32I:
    case CUBLAS_COMPUTE_32I_PEDANTIC:
      return true;
    default:
      return false;
  }
}

bool is_consistent(const Layout& is) {
  if (is.order != CUBLASLT_ORDER_COL && is.order != CUBLASLT_ORDER_ROW) return true;  // refused as not supported
  const uint64_t least = is.order == CUBLASLT_ORDER_COL ? is.rows : is.cols;
  return is.rows > 0 && is.cols > 0 && is.ld > 0 && static_cast<uint64_t>(is.ld) >= least && is.batch_count > 0 &&
         is.batch_stride >= 0;
}

bool is_regular(const Layout& is) {
  return (is.order == CUBLASLT_ORDER_COL || is.order == CUBLASLT_ORDER_ROW) &&
         is_element_type(static_cast<cudaDataType>(is.type)) && is.plane_offset == 0 &&
         is.batch_mode == CUBLASLT_BATCH_MODE_STRIDED;
}

bool is_transposed(int32_t operation) {
  return operation != CUBLAS_OP_N;
}

bool are_types_supported(const Problem& is) {
  const MatmulDescriptor& matmul = is.matmul;
  if (is.a.type != is.b.type || is.c.type != is.d.type || matmul.scale_type != CUDA_R_32F) return false;
  if (is.type_c() != CUDA_R_32F && is.type_c() != is.type_a()) return false;
  if (matmul.compute_type == CUBLAS_COMPUTE_32F) return true;
  return is.is_tf32() && is.type_a() == CUDA_R_32F;
}

cublasStatus_t check_epilogue(const Problem& is) {
  const Epilogue& epilogue = is.epilogue;
  const MatmulDescriptor& matmul = is.matmul;
  if (matmul.epilogue != CUBLASLT_EPILOGUE_DEFAULT && is.d.order != CUBLASLT_ORDER_COL)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (epilogue.uses_bias_vector() && matmul.bias_type != -1 && static_cast<uint32_t>(matmul.bias_type) != is.d.type)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!epilogue.uses_aux()) return CUBLAS_STATUS_SUCCESS;
  if (matmul.aux_type != -1 && static_cast<uint32_t>(matmul.aux_type) != is.d.type) return CUBLAS_STATUS_INVALID_VALUE;
  if (matmul.aux_ld % 8 != 0 || matmul.aux_ld < 0 || static_cast<uint64_t>(matmul.aux_ld) < is.m)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (matmul.aux_batch_stride % 8 != 0) return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t make_problem(cublasLtMatmulDesc_t matmul, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, Problem& is) {
  const MatmulDescriptor* const descriptor = matmul_of(matmul);
  const Layout* const layouts[] = {layout_of(a), layout_of(b), layout_of(c), layout_of(d)};
  if (!descriptor || std::count(std::begin(layouts), std::end(layouts), nullptr) > 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  is.matmul = *descriptor;
  is.a = *layouts[0];
  is.b = *layouts[1];
  is.c = *layouts[2];
  is.d = *layouts[3];
  if (is_documented_compute_type(is.matmul.compute_type))
    report("unsupported", "cublasLt with cublasComputeType_t " + std::to_string(is.matmul.compute_type) +
                              ": only 32F and 32F_FAST_TF32 are emulated.");
  if (std::any_of(std::begin(is.matmul.scales), std::end(is.matmul.scales), [](uint64_t at) { return at != 0; }))
    report("unsupported", "cublasLt with scale or amax pointers, which are for float8 products.");
  if (is.matmul.pointer_mode != CUBLASLT_POINTER_MODE_HOST && is.matmul.pointer_mode != CUBLASLT_POINTER_MODE_DEVICE)
    report("unsupported", "cublasLt with a vector of alphas.");

  for (const Layout* layout : layouts)
    if (!is_consistent(*layout)) return CUBLAS_STATUS_INVALID_VALUE;
  is.m = is.d.rows;
  is.n = is.d.cols;
  const bool transpose_a = is_transposed(is.matmul.transpose_a), transpose_b = is_transposed(is.matmul.transpose_b);
  is.k = transpose_a ? is.a.rows : is.a.cols;
  const bool shapes_agree = (transpose_a ? is.a.cols : is.a.rows) == is.m &&
                            (transpose_b ? is.b.cols : is.b.rows) == is.k &&
                            (transpose_b ? is.b.rows : is.b.cols) == is.n && is.c.rows == is.m && is.c.cols == is.n;
  const bool batches_agree = is.a.batch_count == is.d.batch_count && is.b.batch_count == is.d.batch_count &&
                             is.c.batch_count == is.d.batch_count;
  if (!shapes_agree || !batches_agree) return CUBLAS_STATUS_INVALID_VALUE;

  const std::optional<Epilogue> epilogue = epilogue_of(is.matmul.epilogue);
  if (!epilogue) return CUBLAS_STATUS_NOT_SUPPORTED;
  is.epilogue = *epilogue;
  if (is.matmul.transpose_c != CUBLAS_OP_N || is.matmul.fill_mode != CUBLAS_FILL_MODE_FULL)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const Layout* layout : layouts)
    if (!is_regular(*layout)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!are_types_supported(is)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return check_epilogue(is);
}

cublasStatus_t check_epilogue_addresses(const Problem& is) {
  const bool batched = is.num_batches() > 1;
  if (is.epilogue.uses_bias_vector()) {
    if (is.matmul.bias == 0 || is.matmul.bias % element_bytes(is.type_c()) != 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (batched && !is.epilogue.adds_bias && is.matmul.bias_batch_stride == 0)
      report("bad-argument",
             "cublasLtMatmul: all products of a batch write their bias gradient to the same place. Set "
             "CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE.");
  }
  if (is.epilogue.uses_aux()) {
    constexpr uint64_t kAuxAlignment = 16;
    if (is.matmul.aux == 0 || is.matmul.aux % kAuxAlignment != 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (batched && is.epilogue.writes_aux && is.matmul.aux_batch_stride == 0)
      report("bad-argument",
             "cublasLtMatmul: all products of a batch write their auxiliary output to the same place. Set "
             "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE.");
  }
  if (batched && is.d.batch_stride == 0)
    report("bad-argument",
           "cublasLtMatmul: all products of a batch are written to the same place. Set "
           "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET of D.");
  return CUBLAS_STATUS_SUCCESS;
}

uint64_t Problem::key() const {
  MatmulDescriptor without_addresses = matmul;
  without_addresses.bias = without_addresses.aux = 0;
  uint64_t key = XXH64(&without_addresses, sizeof without_addresses, 1);
  for (const Layout* layout : {&a, &b, &c, &d}) key = XXH64(layout, sizeof *layout, key);
  return key;
}

}  // namespace triptych::emulator
