#include "emulator/cublaslt/descriptors.h"

#include <cstring>
#include <memory>
#include <type_traits>

using namespace triptych::emulator;

namespace triptych::emulator {
namespace {

static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(MatmulDescriptor) <= sizeof(cublasLtMatmulDescOpaque_t));
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));

/// Where an attribute is kept.
struct Field {
  void* at = nullptr;
  std::size_t bytes = 0;
};

template <typename T>
Field field(T& member) {
  return {&member, sizeof member};
}

cublasStatus_t set(const Field& field, const void* from, std::size_t bytes) {
  if (!field.at || !from || bytes != field.bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(field.at, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t get(const Field& field, void* to, std::size_t bytes, std::size_t* written) {
  if (!field.at || (bytes == 0 && !written) || (bytes != 0 && (!to || bytes != field.bytes)))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes != 0) std::memcpy(to, field.at, bytes);
  if (written) *written = field.bytes;
  return CUBLAS_STATUS_SUCCESS;
}

Field find_field(Layout* is, cublasLtMatrixLayoutAttribute_t attribute) {
  if (!is) return {};
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return field(is->type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return field(is->order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return field(is->rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return field(is->cols);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return field(is->ld);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return field(is->batch_count);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return field(is->batch_stride);
    case CUBLASLT_MATRIX_LAYOUT_PLANE_OFFSET:
      return field(is->plane_offset);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_MODE:
      return field(is->batch_mode);
  }
  return {};
}

Field find_field(MatmulDescriptor* is, cublasLtMatmulDescAttributes_t attribute) {
  if (!is) return {};
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return field(is->compute_type);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return field(is->scale_type);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return field(is->pointer_mode);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return field(is->transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return field(is->transpose_b);
    case CUBLASLT_MATMUL_DESC_TRANSC:
      return field(is->transpose_c);
    case CUBLASLT_MATMUL_DESC_FILL_MODE:
      return field(is->fill_mode);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return field(is->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return field(is->bias);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return field(is->bias_batch_stride);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return field(is->bias_type);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return field(is->aux);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return field(is->aux_ld);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE:
      return field(is->aux_batch_stride);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE:
      return field(is->aux_type);
    case CUBLASLT_MATMUL_DESC_ALPHA_VECTOR_BATCH_STRIDE:
      return field(is->alpha_batch_stride);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
      return field(is->sm_count_target);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      return field(is->fast_accumulation);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      return field(is->scales[0]);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      return field(is->scales[1]);
    case CUBLASLT_MATMUL_DESC_C_SCALE_POINTER:
      return field(is->scales[2]);
    case CUBLASLT_MATMUL_DESC_D_SCALE_POINTER:
      return field(is->scales[3]);
    case CUBLASLT_MATMUL_DESC_AMAX_D_POINTER:
      return field(is->scales[4]);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_SCALE_POINTER:
      return field(is->scales[5]);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_AMAX_POINTER:
      return field(is->scales[6]);
    case CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER:
      return field(is->scales[7]);
    default:
      return {};
  }
}

Field find_field(Preference* is, cublasLtMatmulPreferenceAttributes_t attribute) {
  if (!is) return {};
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
      return field(is->search_mode);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return field(is->max_workspace_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return field(is->reduction_schemes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return field(is->min_alignment_bytes[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return field(is->min_alignment_bytes[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return field(is->min_alignment_bytes[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return field(is->min_alignment_bytes[3]);
    case CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT:
      return field(is->max_waves);
    case CUBLASLT_MATMUL_PREF_IMPL_MASK:
      return field(is->implementations);
  }
  return {};
}

template <typename Inside, typename Opaque>
Inside* inside(Opaque* handle, DescriptorKind kind) {
  auto* const result = reinterpret_cast<Inside*>(handle);
  return result && result->kind == kind ? result : nullptr;
}

template <typename Opaque, typename Inside>
cublasStatus_t place(Opaque* space, std::size_t bytes, const Inside& inside) {
  if (!space) return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes < sizeof(Opaque)) return CUBLAS_STATUS_ALLOC_FAILED;
  std::memset(space, 0, sizeof(Opaque));
  std::memcpy(space, &inside, sizeof inside);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename Opaque, typename Inside>
cublasStatus_t create(Opaque** handle, const Inside& inside) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = std::make_unique<Opaque>().release();
  return place(*handle, sizeof(Opaque), inside);
}

template <typename Opaque>
cublasStatus_t destroy(Opaque* handle, bool is_one) {
  if (!handle) return CUBLAS_STATUS_SUCCESS;
  if (!is_one) return CUBLAS_STATUS_INVALID_VALUE;
  std::memset(handle, 0, sizeof(Opaque));
  const std::unique_ptr<Opaque> owned(handle);
  return CUBLAS_STATUS_SUCCESS;
}

Layout new_layout(cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
  Layout is{};
  is.kind = DescriptorKind::layout;
  is.type = type;
  is.rows = rows;
  is.cols = cols;
  is.ld = ld;
  is.order = CUBLASLT_ORDER_COL;
  is.batch_count = 1;
  return is;
}

MatmulDescriptor new_matmul(cublasComputeType_t compute_type, cudaDataType scale_type) {
  MatmulDescriptor is{};
  is.kind = DescriptorKind::matmul;
  is.compute_type = compute_type;
  is.scale_type = scale_type;
  is.pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  is.transpose_a = is.transpose_b = is.transpose_c = CUBLAS_OP_N;
  is.fill_mode = CUBLAS_FILL_MODE_FULL;
  is.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  is.bias_type = is.aux_type = -1;
  return is;
}

Preference new_preference() {
  Preference is{};
  is.kind = DescriptorKind::preference;
  is.search_mode = CUBLASLT_SEARCH_BEST_FIT;
  is.reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  for (uint32_t& bytes : is.min_alignment_bytes) bytes = 256;
  is.implementations = ~uint64_t{0};
  return is;
}

}  // namespace

Layout* layout_of(cublasLtMatrixLayout_t handle) {
  return inside<Layout>(handle, DescriptorKind::layout);
}
MatmulDescriptor* matmul_of(cublasLtMatmulDesc_t handle) {
  return inside<MatmulDescriptor>(handle, DescriptorKind::matmul);
}
Preference* preference_of(cublasLtMatmulPreference_t handle) {
  return inside<Preference>(handle, DescriptorKind::preference);
}

}  // namespace triptych::emulator

extern "C" {

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size, cudaDataType type,
                                                 uint64_t rows, uint64_t cols, int64_t ld) {
  return place(layout, size, new_layout(type, rows, cols, ld));
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  return create(layout, new_layout(type, rows, cols, ld));
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout, layout_of(layout) != nullptr);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* from,
                                                size_t bytes) {
  return set(find_field(layout_of(layout), attribute), from, bytes);
}

cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, void* to, size_t bytes,
                                                size_t* written) {
  return get(find_field(layout_of(layout), attribute), to, bytes, written);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t matmul, size_t size,
                                               cublasComputeType_t compute_type, cudaDataType scale_type) {
  return place(matmul, size, new_matmul(compute_type, scale_type));
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* matmul, cublasComputeType_t compute_type,
                                        cudaDataType scale_type) {
  return create(matmul, new_matmul(compute_type, scale_type));
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul) {
  return destroy(matmul, matmul_of(matmul) != nullptr);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul, cublasLtMatmulDescAttributes_t attribute,
                                              const void* from, size_t bytes) {
  return set(find_field(matmul_of(matmul), attribute), from, bytes);
}

cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t matmul, cublasLtMatmulDescAttributes_t attribute,
                                              void* to, size_t bytes, size_t* written) {
  return get(find_field(matmul_of(matmul), attribute), to, bytes, written);
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t size) {
  return place(preference, size, new_preference());
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference, new_preference());
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference, preference_of(preference) != nullptr);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* from,
                                                    size_t bytes) {
  return set(find_field(preference_of(preference), attribute), from, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, void* to,
                                                    size_t bytes, size_t* written) {
  return get(find_field(preference_of(preference), attribute), to, bytes, written);
}

}  // extern "C"
