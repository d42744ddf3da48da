#pragma once

#include <cstdint>

#include <cublasLt.h>

namespace triptych::emulator {

/// What lies in the program's opaque structures. `kind` tells one from another, and from memory that is none.
enum class DescriptorKind : uint32_t { none = 0, layout = 0x4c61796f, matmul = 0x4d61746d, preference = 0x50726566 };

struct Layout {
  DescriptorKind kind;
  uint32_t type;
  uint64_t rows, cols;
  int64_t ld;
  int64_t batch_stride;
  int32_t order;
  int32_t batch_count;
  int64_t plane_offset;
  uint32_t batch_mode;
};

struct MatmulDescriptor {
  DescriptorKind kind;
  int32_t compute_type, scale_type, pointer_mode;
  int32_t transpose_a, transpose_b, transpose_c;
  int32_t fill_mode;
  uint32_t epilogue;
  int32_t bias_type, aux_type;
  int32_t sm_count_target;
  int8_t fast_accumulation;
  uint64_t bias;  // addresses on the device
  int64_t bias_batch_stride;
  uint64_t aux;
  int64_t aux_ld, aux_batch_stride;
  int64_t alpha_batch_stride;
  uint64_t scales[8];  // of float8 products: must stay null
};

struct Preference {
  DescriptorKind kind;
  uint32_t search_mode;
  uint64_t max_workspace_bytes;
  uint32_t reduction_schemes;
  uint32_t min_alignment_bytes[4];  // of A, B, C, D
  float max_waves;
  uint64_t implementations;
};

/// Null where the handle is none of that kind, or was destroyed.
Layout* layout_of(cublasLtMatrixLayout_t handle);
MatmulDescriptor* matmul_of(cublasLtMatmulDesc_t handle);
Preference* preference_of(cublasLtMatmulPreference_t handle);

}  // namespace triptych::emulator
