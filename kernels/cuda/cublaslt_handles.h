#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <cublasLt.h>

#include "base/error.h"

namespace triptych::kernels::cuda {

/// Throws WorldError that names the call and cuBLASLt's own text unless it succeeded.
inline void check_cublaslt(cublasStatus_t status, std::string_view call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw WorldError("cublaslt", fmt::format("{} failed: {} ({})", call, cublasLtGetStatusName(status),
                                             cublasLtGetStatusString(status)));
  }
}
/// check_cublaslt(cublasLtSomething(...)), naming the call as it is written.
#define TRIPTYCH_CUBLASLT(call) ::triptych::kernels::cuda::check_cublaslt((call), #call)

/// A handle of the library's, ended by `kDestroy`.
template <typename Handle, cublasStatus_t (*kDestroy)(Handle)>
class CublasLtHandleOf {
 public:
  CublasLtHandleOf() = default;
  CublasLtHandleOf(CublasLtHandleOf&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CublasLtHandleOf& operator=(CublasLtHandleOf&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~CublasLtHandleOf() {
    // Fails only for a handle that is none.
    if (handle_ != nullptr) static_cast<void>(kDestroy(handle_));
  }
  Handle get() const { return handle_; }

 protected:
  Handle handle_ = nullptr;
};

class CublasLt : public CublasLtHandleOf<cublasLtHandle_t, cublasLtDestroy> {
 public:
  CublasLt() { TRIPTYCH_CUBLASLT(cublasLtCreate(&handle_)); }
};

class MatmulDescriptor : public CublasLtHandleOf<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> {
 public:
  explicit MatmulDescriptor(cublasComputeType_t compute_type) {
    TRIPTYCH_CUBLASLT(cublasLtMatmulDescCreate(&handle_, compute_type, CUDA_R_32F));
  }
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    TRIPTYCH_CUBLASLT(cublasLtMatmulDescSetAttribute(handle_, attribute, &value, sizeof(value)));
  }
};

/// Column-major, as is the library's default.
class MatrixLayout : public CublasLtHandleOf<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> {
 public:
  MatrixLayout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t column_stride) {
    TRIPTYCH_CUBLASLT(cublasLtMatrixLayoutCreate(&handle_, type, static_cast<uint64_t>(rows),
                                                 static_cast<uint64_t>(columns), column_stride));
  }
  template <typename Value>
  void set(cublasLtMatrixLayoutAttribute_t attribute, Value value) {
    TRIPTYCH_CUBLASLT(cublasLtMatrixLayoutSetAttribute(handle_, attribute, &value, sizeof(value)));
  }
};

class MatmulPreference : public CublasLtHandleOf<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> {
 public:
  MatmulPreference() { TRIPTYCH_CUBLASLT(cublasLtMatmulPreferenceCreate(&handle_)); }
  template <typename Value>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
    TRIPTYCH_CUBLASLT(cublasLtMatmulPreferenceSetAttribute(handle_, attribute, &value, sizeof(value)));
  }
};

}  // namespace triptych::kernels::cuda
