#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// The bytes of a text in base 64 (RFC 4648, with its padding); none if it is no such text.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace triptych::text
