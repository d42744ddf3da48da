#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::base {

/// True if `text` is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text);

/// `text` as a terminal may show it: control characters (but newline and tab), characters that turn the direction of
/// text round, and bytes that are no UTF-8 are written out, as "\x1b" and "\u202e". Other text is as it was.
std::string printable(std::string_view text);

/// The candidate with the least edit distance (Damerau-Levenshtein) to `word`, or "" if none is near enough to suggest.
std::string nearest_word(std::string_view word, std::span<const std::string> candidates);

/// "1.50 GiB", "12 B".
std::string human_bytes(double bytes);

}  // namespace triptych::base
