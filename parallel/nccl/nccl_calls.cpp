#include "parallel/nccl/nccl_calls.h"

#include <string_view>

#include "base/error.h"

namespace triptych::parallel {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kInt32:
      return ncclInt32;
    case DType::kInt64:
      return ncclInt64;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kFloat16:
      return ncclFloat16;
    case DType::kUInt8:
      return ncclUint8;
  }
  throw InternalError("nccl", fmt::format("{} has no counterpart in NCCL", dtype_name(dtype)));
}

ncclRedOp_t nccl_op(ReduceOp reduce) {
  return reduce == ReduceOp::kSum ? ncclSum : ncclMax;
}

std::string nccl_text(ncclResult_t code, ncclComm_t comm) {
  const char* const detail = ncclGetLastError(comm);
  const std::string_view rest = detail == nullptr ? "" : detail;
  return fmt::format("{}{}{}", ncclGetErrorString(code), rest.empty() ? "" : ": ", rest);
}

std::string nccl_version_text() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace triptych::parallel
