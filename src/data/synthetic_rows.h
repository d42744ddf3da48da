#pragma once

#include <cstdint>
#include <string_view>

#include "base/philox.h"

namespace triptych::data {

/// Whether synthetic row `row` lacks a part ("synthetic/image_absent", "synthetic/text_absent"): one in five does.
/// Fields that mark the same part ask with the same purpose, and so agree.
inline bool synthetic_row_lacks(std::string_view purpose, uint64_t seed, int64_t row) {
  return philox_word(random_key(seed, purpose, 0), static_cast<uint64_t>(row)) % 5 == 0;
}

inline constexpr std::string_view kSyntheticImageAbsent = "synthetic/image_absent";
inline constexpr std::string_view kSyntheticTextAbsent = "synthetic/text_absent";

}  // namespace triptych::data
