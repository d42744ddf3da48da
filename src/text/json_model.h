#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/token_model.h"

namespace triptych::text {

/// Whether bytes are JSON, as far as their first one tells.
bool is_json_tokenizer(std::string_view bytes);

/// A tokenizer.json of Hugging Face's `tokenizers`. Throws UserError if it asks for what docs/tokenizers.md does not
/// name, or is larger than 64 MiB, WorldError if it is no JSON.
std::unique_ptr<const TokenModel> read_json_model(const std::string& bytes, std::string_view where);

}  // namespace triptych::text
