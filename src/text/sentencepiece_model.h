#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/token_model.h"

namespace triptych::text {

/// A SentencePiece model, sealed by train_tokenizer or from elsewhere. SentencePiece trusts a model's tables, so all
/// that it would follow without bounds is checked before it sees them.
/// Throws WorldError if a sealed one was altered or bytes are no model, UserError if a model from elsewhere is not
/// sound, or a sealed one has other special ids.
std::unique_ptr<const TokenModel> read_sentencepiece_model(const std::string& bytes, std::string_view where);

}  // namespace triptych::text
