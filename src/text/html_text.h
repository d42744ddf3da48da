#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// The characters of HTML's character references, as Python's html.unescape finds them: with or without a semicolon,
/// and names that only begin with a known one.
std::string unescape_html(std::string_view text);

/// The text of a name with its semicolon, such as "eacute;"; none if HTML has no such name.
std::optional<std::string_view> html_character(std::string_view name);

/// Of a number of a character reference; several have another character than their own, or none.
std::string numbered_character(std::string_view digits, int base);

/// A C1 control as what Windows-1252 has in its place; five that it leaves out are themselves.
char32_t windows_1252(char32_t c1);

}  // namespace triptych::text
