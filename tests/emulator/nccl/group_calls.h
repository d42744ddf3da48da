#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "emulator/nccl/call.h"
#include "emulator/nccl/host_comm.h"

namespace triptych::emulator {

/// Checks a call as far as it can be checked when it is made, and makes it, or keeps it until the group ends.
/// Reports `bad-argument`, `host-pointer-in-kernel`, `misaligned-access` and `out-of-bounds` for wrong buffers.
ncclResult_t make_call(const Call& call, ncclComm_t comm, cudaStream_t stream);

void open_group();
ncclResult_t close_group();

}  // namespace triptych::emulator
