#pragma once

#include "base/rooms.h"

namespace triptych::kernels {

/// Where a kernel leaves sums, float32 in device memory: added to what is there, or assigned, where it is undefined.
/// Null: the sums are not wanted.
struct SumTarget {
  constexpr SumTarget(float* data_ = nullptr, bool assign_ = false) : data(data_), assign(assign_) {}
  constexpr explicit operator bool() const { return data != nullptr; }

  float* data;
  bool assign;
};

}  // namespace triptych::kernels
