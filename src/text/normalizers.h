#pragma once

#include <memory>
#include <string>

#include "text/json_object.h"

namespace triptych::text {

/// A text on its way through the stages of a tokenizer.json.
struct StagedText {
  std::string text;
  /// Whether its first character is, or stands for, the very first of what was given: there Metaspace may put a mark.
  bool is_first = true;
};

/// Changes a text before it is cut. Immutable and thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(StagedText& staged) const = 0;
};

/// `value` is the JSON of one of the normalizers of docs/tokenizers.md. Throws UserError if it is of another.
std::unique_ptr<const Normalizer> read_normalizer(const nlohmann::json& value, const std::string& path,
                                                  std::string_view where);

}  // namespace triptych::text
