#pragma once

#include <memory>

#include "text/word_model.h"

namespace triptych::text {

/// SentencePiece's model: of all ways to cut a text into pieces the likeliest; characters without a piece, neighbours
/// together, are unknown, or written by their bytes. Source: Kudo 2018.
std::unique_ptr<const WordModel> read_unigram(JsonObject& options);

}  // namespace triptych::text
