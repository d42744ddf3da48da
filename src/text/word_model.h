#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_object.h"
#include "text/piece_table.h"

namespace triptych::text {

/// Makes tokens of a part of a text, which pre-tokenizers have cut. Immutable and thread-safe.
class WordModel {
 public:
  virtual ~WordModel() = default;
  virtual std::string name() const = 0;
  virtual const PieceTable& pieces() const = 0;
  virtual std::optional<int32_t> unknown() const = 0;
  /// Appends the ids of a part, which is not empty.
  virtual void append(std::string_view word, std::vector<int32_t>& ids) const = 0;
  /// What every piece but a word's first begins with, and a word's last piece ends with; "" if nothing.
  virtual std::string continuing_prefix() const { return ""; }
  virtual std::string end_of_word() const { return ""; }
};

/// `value` is the JSON of a model: BPE, WordPiece or Unigram. Throws UserError if it is of another, or unsound.
std::unique_ptr<const WordModel> read_word_model(const nlohmann::json& value, std::string_view where);

/// The ids of the pieces "<0x00>" to "<0xFF>", by which characters without a piece are written; none where one lacks.
std::vector<std::optional<int32_t>> find_byte_pieces(const PieceTable& pieces);

}  // namespace triptych::text
