#pragma once

#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// A text as CLIP's tokenizer reads it: cleaned as by ftfy 6, unescaped from HTML twice, with single spaces between
/// words and none around them, in lower case. Of what ftfy does, the repair of text that was decoded by a wrong
/// encoding is left out: such text stays as it is. Source: Radford et al. 2021, CLIP, simple_tokenizer.py.
std::string clip_cleaned(std::string_view text);

}  // namespace triptych::text
