#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_object.h"

namespace triptych::text {

/// A part of a text, [begin, end), that a pattern matches, or that lies between such.
struct Match {
  std::size_t begin = 0, end = 0;
  bool is_match = false;
};

/// What a text is searched for: a regular expression of Oniguruma, whose syntax tokenizer.json's have, or a text as it
/// is. Immutable and thread-safe.
class Pattern {
 public:
  /// Throws UserError if it is no expression, or longer than 8 KiB.
  static Pattern regex(const std::string& expression, std::string_view where);
  /// Throws UserError if it is empty.
  static Pattern literal(std::string text, std::string_view where);

  /// The parts of a text, in order and without a gap; matches that are empty are among them. Throws UserError if the
  /// expression needs more than 10 million steps for one of them.
  std::vector<Match> find(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;  // null: a literal
  std::string literal_;
  std::string where_;
};

/// The pattern {"Regex": ...} or {"String": ...} of a tokenizer.json.
Pattern read_pattern(JsonObject& options, const std::string& key);

}  // namespace triptych::text
