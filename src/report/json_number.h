#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "base/rooms.h"

namespace triptych::report::internal {

/// A number of a file: NaN where it is null. Throws nlohmann's exception for what is neither.
inline double number_in(const nlohmann::ordered_json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

/// A whole number of a file, from 0. Throws std::invalid_argument for anything else.
inline int64_t count_in(const nlohmann::ordered_json& json) {
  if (!json.is_number_unsigned() || json.get<uint64_t>() > uint64_t{INT64_MAX}) {
    throw std::invalid_argument("something else where a count belongs");
  }
  return json.get<int64_t>();
}

}  // namespace triptych::report::internal
