#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizers.h"
#include "text/piece_table.h"
#include "text/piece_trie.h"

namespace triptych::text {

/// A token that is found in a text as it stands there, before anything else cuts it.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  ///< not within a word
  bool left_strip = false;   ///< with the spaces before it
  bool right_strip = false;  ///< with those behind it
  bool normalized = true;    ///< looked for in the normalised text, in its own normalised form
  bool special = false;
};

/// A part of a text: one of the tokens, or what lies between them.
struct FoundToken {
  std::size_t begin = 0, end = 0;
  std::optional<int32_t> id;
};

/// The `added_tokens` of a tokenizer.json. Immutable and thread-safe.
class AddedTokens {
 public:
  /// `value` is their list, null if there is none. Throws UserError if one is unsound, or its id is not the one that
  /// loading it in order would give it: that of its piece, or else the next free one.
  AddedTokens(const nlohmann::json* value, const PieceTable& pieces, const Normalizer* normalizer,
              std::string_view where);

  const std::vector<AddedToken>& all() const { return tokens_; }
  int32_t max_id() const { return max_id_; }  ///< -1 if there are none

  /// Calls see(staged, id) with the parts of a text in order: tokens, whose `staged` is empty, and normalised text.
  void split(std::string_view text, const Normalizer* normalizer,
             const std::function<void(const StagedText& staged, std::optional<int32_t> id)>& see) const;

 private:
  std::vector<FoundToken> find_in(std::string_view text, const PieceTrie& trie) const;

  std::vector<AddedToken> tokens_;
  int32_t max_id_ = -1;
  PieceTrie raw_, normalized_;  // values are places in tokens_
};

}  // namespace triptych::text
