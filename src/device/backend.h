#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::device {

/// Which backend this program is linked with: "cpu" or "cuda".
std::string_view backend_kind();

/// A line of `triptych doctor`: {"driver", "13.0"}.
struct BackendFact {
  std::string name, value;
};
/// What this machine has for the backend, and what is missing. Needs no device and never throws.
std::vector<BackendFact> backend_facts();

}  // namespace triptych::device
