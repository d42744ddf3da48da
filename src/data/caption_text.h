#pragma once

#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

/// Whether a caption has anything to learn: a character that leaves ink. A caption of spaces of any kind, control and
/// format characters (zero-width ones, byte order marks, directions), variation selectors, fillers and unassigned
/// marks alone has no token once it is normalised, or one that means nothing, and so counts as empty.
/// `text` is UTF-8; never throws.
bool has_visible_text(std::string_view text);

/// "U+200B U+00A0 ...": the first `most` code points of UTF-8 text, for naming what cannot be seen.
std::string code_points(std::string_view text, std::size_t most = 8);

}  // namespace triptych::data
