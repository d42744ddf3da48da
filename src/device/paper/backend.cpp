#include "device/backend.h"

namespace triptych::device {

std::string_view backend_kind() {
  return "paper";
}

std::unique_ptr<TraceListener> profiler_ranges() {
  return nullptr;
}

std::vector<BackendFact> backend_facts() {
  return {{"kernels", "none: what a step allocates is counted"}};
}

std::vector<EnvironmentSetting> backend_environment() {
  return {};
}

std::vector<std::string> visible_devices() {
  return {};
}

}  // namespace triptych::device
