#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/rooms.h"

namespace triptych::data {

/// An RGB pixel as floats and one value more: four are one vector register on every target, three are not. So rows of
/// floats have room for one value after their last pixel, and pixels are stored in order, each over the fourth value of
/// the one before.
using PixelLanes = float __attribute__((vector_size(16)));

inline PixelLanes load_pixel(const float* from) {
  PixelLanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline void store_pixel(PixelLanes lanes, float* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}

inline PixelLanes clamp_pixel(PixelLanes lanes) {
  const PixelLanes low{}, high{255, 255, 255, 255};
  lanes = lanes > low ? lanes : low;
  return lanes < high ? lanes : high;
}

/// Rounds values in [0, 255] to nearest; a loop of its own, since it vectorises over whole rows.
inline void round_to_bytes(const float* __restrict from, std::size_t count, uint8_t* __restrict to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(static_cast<int32_t>(from[i] + 0.5f));
}

}  // namespace triptych::data
