#pragma once

#include <memory>

#include "text/word_model.h"

namespace triptych::text {

/// BERT's model: of a word the longest pieces from the left, those that continue it with a prefix; a word that has a
/// part without a piece, or too many characters, is unknown. Source: Devlin et al. 2019.
std::unique_ptr<const WordModel> read_word_piece(JsonObject& options);

}  // namespace triptych::text
