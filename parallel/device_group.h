#pragma once

#include <memory>
#include <string>

#include "device/device.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// The group of the same ranks whose operations are on `device`'s memory; texts, barriers, splits and the end of the
/// world stay with `host`. Collective; the device must outlive the group. On the CPU, where device memory is the
/// host's, it is `host` itself; under CUDA a group over NCCL. Which it is, is chosen when linking: parallel/host or
/// parallel/nccl.
std::unique_ptr<Group> make_device_group(std::unique_ptr<Group> host, Device& device);

/// The library that carries them and its version, "NCCL 2.27.7"; empty if they are the host's groups.
std::string device_transport_text();

}  // namespace triptych::parallel
