#pragma once

#include <string>

#include <nccl.h>

#include "base/dtype.h"
#include "parallel/group.h"

namespace triptych::parallel {

ncclDataType_t nccl_type(DType dtype);
ncclRedOp_t nccl_op(ReduceOp reduce);

/// NCCL's text for a result, with the last detail that it logged for the communicator (which may be null).
std::string nccl_text(ncclResult_t code, ncclComm_t comm);

/// "2.28.9".
std::string nccl_version_text();

}  // namespace triptych::parallel
