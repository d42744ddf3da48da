#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::base {

/// What the `*` of a pattern stand for in a name, one text each, none where the pattern has none; nothing if the name
/// does not match. A `*` stands for any characters, dots and none at all among them, and, of several, each for as few
/// as possible. Every other character stands for itself. Cost: the product of both lengths, at most.
std::optional<std::vector<std::string>> match_pattern(std::string_view pattern, std::string_view name);

/// The pattern of the names that a misspelt one may mean: the nearest of the names and of "<part of a name>.*", or ""
/// if none is near enough to suggest.
std::string nearest_pattern(std::string_view pattern, const std::vector<std::string>& names);

}  // namespace triptych::base
