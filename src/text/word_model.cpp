#include "text/word_model.h"

#include "base/error.h"
#include "text/bpe.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace triptych::text {
namespace {

// Files of before there was a type say by their keys what they are.
std::string type_of(JsonObject& options) {
  if (const auto type = options.optional_text("type")) return *type;
  if (options.find("merges") != nullptr) return "BPE";
  if (options.find("max_input_chars_per_word") != nullptr) return "WordPiece";
  if (const nlohmann::json* pieces = options.find("vocab"); pieces != nullptr && pieces->is_array()) return "Unigram";
  return "";
}

}  // namespace

std::unique_ptr<const WordModel> read_word_model(const nlohmann::json& value, std::string_view where) {
  JsonObject options(value, "model", where);
  const std::string type = type_of(options);
  std::unique_ptr<const WordModel> model;
  if (type == "BPE") {
    model = read_bpe(options);
  } else if (type == "WordPiece") {
    model = read_word_piece(options);
  } else if (type == "Unigram") {
    model = read_unigram(options);
  } else {
    options.refuse("type", fmt::format("must be BPE, WordPiece or Unigram, found `{:.100}`", type));
  }
  options.done();
  return model;
}

std::vector<std::optional<int32_t>> find_byte_pieces(const PieceTable& pieces) {
  std::vector<std::optional<int32_t>> ids;
  for (int byte = 0; byte < 256; ++byte) ids.push_back(pieces.find(fmt::format("<0x{:02X}>", byte)));
  return ids;
}

}  // namespace triptych::text
