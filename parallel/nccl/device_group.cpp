#include "parallel/device_group.h"

#include "parallel/nccl/nccl_calls.h"
#include "parallel/nccl/nccl_group.h"

namespace triptych::parallel {

std::unique_ptr<Group> make_device_group(std::unique_ptr<Group> host, Device& device) {
  return std::make_unique<NcclGroup>(std::move(host), device);
}

std::string device_transport_text() {
  return "NCCL " + nccl_version_text();
}

}  // namespace triptych::parallel
