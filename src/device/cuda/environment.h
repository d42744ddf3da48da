#pragma once

#include <vector>

#include "device/backend.h"

namespace triptych::device {

/// What CUDA and NCCL are to find in the environment.
///
///   runtime_version, driver_version   as 1000 * major + 10 * minor; 0: no driver
///
/// CUDA_MODULE_LOADING=EAGER: loaded at its first launch, a kernel may wait until the device is idle, while a send on
/// another stream waits for a peer that itself waits for this launch.
///
/// CUDA_DEVICE_MAX_CONNECTIONS=32: streams that share a hardware queue wait for each other although nothing in the
/// program says so. A send behind a receive would then wait for a peer that waits for the send. There are more streams
/// than the default of 8 queues.
///
/// NCCL_LAUNCH_ORDER_IMPLICIT=1: kernels of several communicators start in the order in which the host queued them.
/// Only from CUDA 12.3 on, where they still overlap: before, NCCL makes each wait for the end of the one before, and
/// two neighbours of a pipeline that send to each other would wait for ever. (NCCL 2.26; older ones do not read it.)
/// Source: NCCL user guide, environment variables.
std::vector<EnvironmentSetting> cuda_environment(int runtime_version, int driver_version);

}  // namespace triptych::device
