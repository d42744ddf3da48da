#include "text/word_piece.h"

#include "base/error.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

class WordPiece : public WordModel {
 public:
  explicit WordPiece(JsonObject& options)
      : pieces_(PieceTable::from_json(options, "vocab")),
        prefix_(options.text("continuing_subword_prefix", "##")),
        max_characters_(options.integer("max_input_chars_per_word", 0, 10000, 100)) {
    const std::string unknown = options.text("unk_token");
    const auto id = pieces_.find(unknown);
    if (!id) options.refuse("unk_token", fmt::format("must be a piece of the vocabulary, found `{:.100}`", unknown));
    unknown_ = *id;
  }

  std::string name() const override { return "WordPiece"; }
  const PieceTable& pieces() const override { return pieces_; }
  std::optional<int32_t> unknown() const override { return unknown_; }
  std::string continuing_prefix() const override { return prefix_; }

  void append(std::string_view word, std::vector<int32_t>& ids) const override {
    const std::size_t first = ids.size();
    int64_t num_characters = 0;
    for (std::size_t at = 0; at < word.size(); ++num_characters) next_character(word, at);
    bool is_known = num_characters <= max_characters_;
    std::string piece;  // the prefix, and the rest of the word
    for (std::size_t begin = 0; begin < word.size() && is_known;) {
      const std::size_t prefix = begin == 0 ? 0 : prefix_.size();
      piece.assign(prefix_, 0, prefix).append(word, begin);
      std::optional<int32_t> id;
      while (piece.size() > prefix && !(id = pieces_.find(piece))) {
        do {
          piece.pop_back();  // a character
        } while (piece.size() > prefix && (static_cast<uint8_t>(word[begin + piece.size() - prefix]) & 0xc0) == 0x80);
      }
      is_known = id.has_value();
      if (is_known) ids.push_back(*id);
      begin += piece.size() - prefix;
    }
    if (is_known) return;
    ids.resize(first);
    ids.push_back(unknown_);
  }

 private:
  PieceTable pieces_;
  std::string prefix_;
  int64_t max_characters_;
  int32_t unknown_ = 0;
};

}  // namespace

std::unique_ptr<const WordModel> read_word_piece(JsonObject& options) {
  return std::make_unique<WordPiece>(options);
}

}  // namespace triptych::text
