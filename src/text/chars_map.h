#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::text {

/// SentencePiece's `precompiled_charsmap`: what characters, and short sequences of them, are normalised to. A
/// double-array trie (darts-clone) over what is replaced, and the replacements, each ended by a zero byte.
/// Immutable and thread-safe.
class CharsMap {
 public:
  /// Throws UserError if a walk through the trie could leave it, or a replacement is no text: what takes the map after
  /// this, SentencePiece itself, trusts it. `where` names the origin in errors. Empty bytes are an empty map.
  CharsMap(std::string_view bytes, std::string_view where);

  /// What stands for the shortest beginning of `text` that is replaced; none if none is.
  std::optional<std::string_view> replacement(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace triptych::text
