#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "base/rooms.h"

namespace triptych::base {

/// Parses JSON from a file that nobody vouches for: refuses more than `max_depth` levels, an object that holds a name
/// twice, and what is no JSON at all, each with a WorldError naming `where`.
nlohmann::json parse_strict_json(std::string_view text, int max_depth, std::string_view where);

}  // namespace triptych::base
