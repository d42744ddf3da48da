#pragma once

#include "base/error.h"

namespace triptych::device {

/// There is no memory for what was asked. Nothing else has changed: whoever can do without it goes on.
struct OutOfMemory : WorldError {
  using WorldError::WorldError;
};

}  // namespace triptych::device
