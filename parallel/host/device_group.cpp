#include "parallel/device_group.h"

namespace triptych::parallel {

std::unique_ptr<Group> make_device_group(std::unique_ptr<Group> host, Device&) {
  return host;
}

std::string device_transport_text() {
  return {};
}

}  // namespace triptych::parallel
