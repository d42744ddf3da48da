#pragma once

#include <filesystem>
#include <string>

#include "base/rooms.h"

namespace triptych::data {

/// What a data set is, for people: the text of `about.txt` in its folder, as one line; empty if there is none. Throws
/// UserError if that is no UTF-8, or has more than 4096 bytes.
std::string read_about(const std::filesystem::path& folder);

}  // namespace triptych::data
