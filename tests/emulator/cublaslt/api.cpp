#include "emulator/runtime/api.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include <cublasLt.h>

#include "emulator/cublaslt/element_types.h"
#include "emulator/cublaslt/matmul_work.h"
#include "emulator/cublaslt/problem.h"
#include "emulator/runtime/counters.h"
#include "emulator/runtime/runtime.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

// The handle is opaque, so what is in it is free.
struct cublasLtContext {
  uint32_t kind;
};

namespace {

constexpr uint32_t kHandleKind = 0x63624c74;
constexpr uint64_t kAlgorithmKind = 0x616c676f;
// A little of what may be used, so that a workspace that is too small, or somebody else's, is found.
constexpr uint64_t kWorkspaceBytes = 16 << 10;
constexpr uint64_t kWorkspaceAlignment = 16;

bool is_handle(cublasLtHandle_t handle) {
  return handle && handle->kind == kHandleKind;
}

/// What cublasLtMatmulAlgo_t holds here.
struct Algorithm {
  uint64_t kind;
  uint64_t problem;  // the key of the problem that it was chosen for
  uint64_t workspace_bytes;
  uint32_t min_alignment_bytes[4];
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

bool is_aligned(uint64_t address, uint64_t bytes) {
  return address % bytes == 0;
}

cublasStatus_t check_algorithm(const Algorithm& algorithm, const Problem& problem, const MatmulAddresses& at,
                               std::size_t workspace_bytes) {
  if (algorithm.kind != kAlgorithmKind || algorithm.problem != problem.key()) return CUBLAS_STATUS_INVALID_VALUE;
  if (workspace_bytes < algorithm.workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
  const uint64_t addresses[] = {at.a, at.b, at.c, at.d};
  for (std::size_t i = 0; i < std::size(addresses); ++i)
    if (!is_aligned(addresses[i], algorithm.min_alignment_bytes[i])) return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_addresses(const Problem& problem, const MatmulAddresses& at, bool reads_c) {
  const std::size_t in = element_bytes(problem.type_a()), out = element_bytes(problem.type_c());
  if (at.a == 0 || at.b == 0 || at.d == 0 || (reads_c && at.c == 0)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_aligned(at.a, in) || !is_aligned(at.b, in) || !is_aligned(at.c, out) || !is_aligned(at.d, out))
    return CUBLAS_STATUS_INVALID_VALUE;
  // In place only as a whole.
  if (reads_c && at.c == at.d && std::memcmp(&problem.c, &problem.d, sizeof problem.c) != 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (at.d == at.a || at.d == at.b)
    report("bad-argument", "cublasLtMatmul writes D over an operand that it still reads.");
  return check_epilogue_addresses(problem);
}

// Whatever the algorithm takes of it, on a GPU it may be all that the call promises.
void check_workspace(const DeviceMemory& memory, uint64_t address, uint64_t bytes) {
  const DeviceMemory::Allocation held = memory.find(address);
  if (held.size == 0 || address + bytes <= held.begin + held.size) return;
  report("out-of-bounds", "cublasLtMatmul may use a workspace of " + std::to_string(bytes) +
                              " bytes: it begins at byte " + std::to_string(address - held.begin) + " of " + held.what +
                              " (" + std::to_string(held.size) + " bytes). Pass what it has.");
}

float host_value(const void* pointer) {
  float value;
  std::memcpy(&value, pointer, sizeof value);
  return value;
}

uint64_t address_of(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  if (entry_error() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = std::make_unique<cublasLtContext>(cublasLtContext{kHandleKind}).release();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  if (!is_handle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->kind = 0;
  const std::unique_ptr<cublasLtContext> owned(handle);
  return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion() {
  return CUBLAS_VERSION;
}

size_t cublasLtGetCudartVersion() {
  return CUDART_VERSION;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "CUBLAS_STATUS_UNKNOWN";
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "the requested functionality is absent from the device architecture";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "an access to GPU memory space failed";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "the functionality requires a license";
  }
  return "unknown status";
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int num_requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* num_returned) {
  if (!is_handle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  const Preference* const preferred = preference_of(preference);
  if (!preferred || num_requested <= 0 || !results || !num_returned) return CUBLAS_STATUS_INVALID_VALUE;
  *num_returned = 0;
  Problem problem;
  if (const cublasStatus_t status = make_problem(matmul, a, b, c, d, problem); status != CUBLAS_STATUS_SUCCESS)
    return status;
  using BiasGradients = Options::BiasGradients;
  const BiasGradients bias_gradients = runtime().options().bias_gradients;
  if ((problem.epilogue.sums_a || problem.epilogue.sums_b) && bias_gradients != BiasGradients::kSupported)
    return bias_gradients == BiasGradients::kNotSupported ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_INVALID_VALUE;
  Algorithm algorithm{kAlgorithmKind, problem.key(), std::min(preferred->max_workspace_bytes, kWorkspaceBytes), {}};
  std::copy(std::begin(preferred->min_alignment_bytes), std::end(preferred->min_alignment_bytes),
            std::begin(algorithm.min_alignment_bytes));
  for (const uint32_t bytes : algorithm.min_alignment_bytes)
    if (bytes == 0) return CUBLAS_STATUS_INVALID_VALUE;
  std::memset(&results[0], 0, sizeof results[0]);
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspace_bytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].wavesCount = 1.0f;
  *num_returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t layout_a, const void* b, cublasLtMatrixLayout_t layout_b,
                              const void* beta, const void* c, cublasLtMatrixLayout_t layout_c, void* d,
                              cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t* opaque, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (!is_handle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  Problem problem;
  if (const cublasStatus_t status = make_problem(matmul, layout_a, layout_b, layout_c, layout_d, problem);
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;

  MatmulAddresses at{address_of(a), address_of(b), address_of(c), address_of(d), 0, 0, 0, 0};
  const bool scales_on_device = problem.matmul.pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
  if (scales_on_device) {
    at.alpha = address_of(alpha);
    at.beta = address_of(beta);
  }
  const float alpha_value = scales_on_device ? 1.0f : host_value(alpha);
  const float beta_value = scales_on_device ? 0.0f : host_value(beta);
  const cublasStatus_t status = check_addresses(problem, at, scales_on_device || beta_value != 0.0f);
  if (status != CUBLAS_STATUS_SUCCESS) return status;

  if (!workspace) workspace_bytes = 0;
  if (!is_aligned(address_of(workspace), kWorkspaceAlignment)) return CUBLAS_STATUS_INVALID_VALUE;
  check_workspace(memory_of(stream), address_of(workspace), workspace_bytes);
  at.workspace = address_of(workspace);
  at.workspace_bytes = std::min<uint64_t>(workspace_bytes, kWorkspaceBytes);
  if (opaque) {
    Algorithm algorithm;
    std::memcpy(&algorithm, opaque, sizeof algorithm);
    const cublasStatus_t fits = check_algorithm(algorithm, problem, at, workspace_bytes);
    if (fits != CUBLAS_STATUS_SUCCESS) return fits;
    at.workspace_bytes = algorithm.workspace_bytes;
  }
  auto work = std::make_unique<MatmulWork>(problem, at, alpha_value, beta_value, memory_of(stream));
  count([&](Counts& counts) {
    const MatmulWork::Bytes bytes = work->num_bytes();
    ++counts.matmuls.calls;
    counts.matmuls.flops += problem.num_flops();
    counts.matmuls.bytes_read += bytes.read;
    counts.matmuls.bytes_written += bytes.written;
  });
  enqueue(stream, std::move(work));
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
