#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

/// The code points of a UTF-8 text. Throws InternalError if it is none.
std::u32string to_code_points(std::string_view utf8);

/// What Python's str.split() splits at: the bidirectional classes WS, B and S, and the category Zs.
bool is_white_space(char32_t c);

/// The pieces between white space, none of them empty, in order; they view `utf8`. Throws InternalError for a text that
/// is not UTF-8.
std::vector<std::string_view> split_words(std::string_view utf8);

}  // namespace triptych::evaluation
