#include "base/trace.h"

#include <chrono>

namespace triptych::base {

int64_t Trace::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace triptych::base
