#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace triptych::text {

/// A piece as people read it: a word may begin with it, or end.
struct ShownPiece {
  std::string text;  ///< without marks of spaces; perhaps a part of a character
  bool begins_word = false, ends_word = false;
};

/// What a kind of tokenizer file must do. Texts are UTF-8 and ids in range: Tokenizer has checked. Thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual std::string kind() const = 0;
  virtual int64_t size() const = 0;
  virtual const SpecialTokens& special() const = 0;
  virtual const std::vector<int32_t>& before() const = 0;
  virtual const std::vector<int32_t>& after() const = 0;
  /// The most tokens of a text that the file allows, those around it with it; 0: any number.
  virtual std::size_t max_tokens() const { return 0; }
  /// Appends the pieces of a text; of special tokens that it names too, where the file says so.
  virtual void append_pieces(std::string_view text, std::vector<int32_t>& ids) const = 0;
  /// Whether `decode` is given the id; special ones are passed over, but for the unknown one of some kinds.
  virtual bool shows(int32_t id) const = 0;
  /// The text of pieces, each of them one that shows.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  virtual std::string normalized(std::string_view text) const = 0;
  virtual std::string piece(int32_t id) const = 0;
  virtual ShownPiece shown(int32_t id) const = 0;
};

}  // namespace triptych::text
