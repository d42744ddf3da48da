#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"
#include "base/trace.h"

namespace triptych::device {

/// Which backend this program is linked with: "cpu" or "cuda".
std::string_view backend_kind();

/// Shows a trace's work as ranges to the backend's profiler: NVTX under CUDA, which `nsys profile` records; null on the
/// CPU.
std::unique_ptr<TraceListener> profiler_ranges();

/// A line of `triptych doctor`: {"driver", "13.0"}.
struct BackendFact {
  std::string name, value;
};
/// What this machine has for the backend, and what is missing. Needs no device and never throws.
std::vector<BackendFact> backend_facts();

/// A variable of the environment.
struct EnvironmentSetting {
  std::string name, value;
};
/// What the backend's libraries are to find in the environment when they start, unless the user has set it otherwise.
/// Starts nothing and never throws.
std::vector<EnvironmentSetting> backend_environment();

/// The devices that this process sees, by number: for each an identity that is the same in every process and that no
/// other device has. Empty on the CPU, which ranks share. Throws UserError if there is no device.
std::vector<std::string> visible_devices();

}  // namespace triptych::device
