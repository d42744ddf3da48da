#pragma once

#include <cstdint>
#include <vector>

#include "text/json_object.h"

namespace triptych::text {

/// The tokens that a tokenizer.json puts around a single text.
struct TextFrame {
  std::vector<int32_t> before, after;
};

/// Of one of the post-processors of docs/tokenizers.md, null for none. Throws UserError if it is of another, or if a
/// single text is not once in what it makes of one.
TextFrame read_post_processor(const nlohmann::json* value, std::string_view where);

}  // namespace triptych::text
