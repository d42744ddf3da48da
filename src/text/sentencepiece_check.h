#pragma once

#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// Checks what SentencePiece follows without bounds in a serialized model: that pieces are short texts with finite
/// scores, and that no normalization table leads outside itself. Throws WorldError if the bytes are no such model,
/// UserError if a table is unsound.
void check_sentencepiece(std::string_view bytes, std::string_view where);

}  // namespace triptych::text
