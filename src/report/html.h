#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

/// `text` as the content of an HTML element or of a quoted attribute: `& < > " '` as entities; bytes that are not UTF-8
/// and control characters (but tab and newline) as U+FFFD.
std::string escape_html(std::string_view text);

/// RFC 4648, with padding.
std::string base64(std::span<const std::byte> bytes);
/// The reverse; nothing for what base64 did not write.
std::optional<std::vector<std::byte>> bytes_of_base64(std::string_view text);

}  // namespace triptych::report
