#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tensor/field.h"
#include "text/tokenizer.h"

namespace triptych::tasks {

/// Texts as a model reads them, "tokens" int32 [n, length] and "lengths" int32 [n]: for a forward pass over texts of no
/// data set. At least one text. Throws UserError if one is not UTF-8.
Fields text_rows(Device& device, const Tokenizer& tokenizer, std::span<const std::string> texts, int64_t length);

}  // namespace triptych::tasks
