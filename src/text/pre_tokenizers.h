#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_object.h"
#include "text/regex.h"

namespace triptych::text {

/// A part of a text that a model makes tokens of.
struct TextPart {
  std::string_view text;  ///< never empty
  bool is_first = false;  ///< see StagedText
};

/// The parts of a text, in order. Texts that a stage has made are kept here, as long as it is.
class TextParts {
 public:
  std::vector<TextPart> parts;

  std::string_view keep(std::string text) { return kept_.emplace_back(std::move(text)); }
  /// Puts the parts that `split` appends in the place of each; empty ones go.
  template <typename Split>
  void split_each(const Split& split) {
    std::vector<TextPart> all;
    all.reserve(parts.size());
    for (const TextPart& part : parts) split(part, all);
    std::erase_if(all, [](const TextPart& part) { return part.text.empty(); });
    parts = std::move(all);
  }

 private:
  std::deque<std::string> kept_;
};

/// Cuts texts into parts, of which tokens never span two. Immutable and thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(TextParts& text) const = 0;
};

/// What becomes of what a pattern matches.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Appends the parts that a text has by these matches.
void append_split(const TextPart& part, std::vector<Match> matches, SplitBehavior behavior,
                  std::vector<TextPart>& parts);

/// `value` is the JSON of one of the pre-tokenizers of docs/tokenizers.md. Throws UserError if it is of another.
std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const nlohmann::json& value, const std::string& path,
                                                       std::string_view where);

}  // namespace triptych::text
