#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/json_object.h"

namespace triptych::text {

/// Makes texts of pieces, which are then put one behind another. Immutable and thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual std::vector<std::string> apply(std::vector<std::string> pieces) const = 0;
};

/// `value` is the JSON of one of the decoders of docs/tokenizers.md. Throws UserError if it is of another.
std::unique_ptr<const Decoder> read_decoder(const nlohmann::json& value, const std::string& path,
                                            std::string_view where);

}  // namespace triptych::text
