// The targets are chosen before Highway is included.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/highway.h>
// clang-format on

#include "kernel_support.h"

namespace triptych::test {

void for_devices(const std::function<void(Device&)>& test) {
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t targets = supported; targets != 0; targets &= targets - 1) {
    const int64_t target = targets & -targets;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    for (const int num_threads : {1, 3}) {
      SCOPED_TRACE(testing::Message() << hwy::TargetName(target) << ", " << num_threads << " threads");
      Device device(num_threads);
      test(device);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

std::vector<int> thread_counts() {
  return {1, 2, 3, 5};
}

}  // namespace triptych::test
