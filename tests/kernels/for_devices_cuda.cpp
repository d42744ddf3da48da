#include "kernel_support.h"

namespace triptych::test {

void for_devices(const std::function<void(Device&)>& test) {
  Device device(1);
  test(device);
}

std::vector<int> thread_counts() {
  return {1};
}

}  // namespace triptych::test
