#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace triptych::text {

class TokenModel;

/// The file in a data set's folder where `triptych tokenizer train` puts its own.
inline constexpr std::string_view kTokenizerName = "tokenizer.model";
inline constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

/// Tokens that stand for no text. A file need not have all of them.
struct SpecialTokens {
  int32_t pad = 0;  ///< fills rows; where the file names none, the end, or else 0. Lengths tell where a text ends
  std::optional<int32_t> unknown, begin, end, mask;
  std::vector<int32_t> all;  ///< every token that stands for no text, ascending
};

/// Consecutive tokens of a text that make one word of it, to be shown.
struct TokenWord {
  std::string text;
  std::size_t first = 0, count = 0;
};

/// A tokenizer, out of a file of one of these kinds, which its contents tell:
///   - SentencePiece models, those of `triptych tokenizer train` and others
///   - the merges of CLIP, `bpe_simple_vocab_16e6.txt.gz`, as they are or unpacked
///   - `tokenizer.json` of Hugging Face's `tokenizers`: BPE, WordPiece, Unigram
/// docs/tokenizers.md says what of each is supported; the rest is refused. Immutable and thread-safe.
class Tokenizer {
 public:
  /// Throws UserError if the file is of no such kind or asks for what is not supported, WorldError if it is damaged.
  /// `where` names the origin in errors.
  static std::shared_ptr<const Tokenizer> from_bytes(std::string bytes, std::string_view where);
  /// Of a file's bytes. Throws UserError too if the path is none, but a folder, for example.
  static std::shared_ptr<const Tokenizer> from_file(const std::filesystem::path& path);
  ~Tokenizer();

  /// What it is, to be shown: "SentencePiece (unigram)", "tokenizer.json (WordPiece)".
  std::string kind() const;
  /// Ids lie in [0, size()); not each need have a piece.
  int64_t size() const;
  /// Refuses (UserError) a model whose embedding has fewer rows than this tokenizer has pieces. More is fine.
  void check_fits(int64_t model_vocabulary) const;
  /// The file as it was loaded, to be embedded in a checkpoint, and its hash.
  const std::string& bytes() const { return bytes_; }
  const Hash128& hash() const { return hash_; }

  const SpecialTokens& special() const;
  bool is_special(int32_t id) const;
  /// The tokens that `encode` puts before and behind a text: those that the file asks for. Where it asks for no begin,
  /// or no end, but has such a token, this stands there, since who learns to write must learn where a text ends.
  std::span<const int32_t> before() const;
  std::span<const int32_t> after() const;
  /// Tokens around a text: a text of n pieces has n + num_around() tokens.
  std::size_t num_around() const { return before().size() + after().size(); }
  /// The token that a written text begins with, or ends with. Throws UserError if there is none.
  int32_t begin() const;
  int32_t end() const;

  /// Writes before() pieces after() and then pads over all of `ids`, which has room for num_around() tokens or more; of
  /// too many pieces the last are cut. Returns the length without the pads. Throws UserError if `text` is not UTF-8.
  int32_t encode(std::string_view text, std::span<int32_t> ids) const;
  /// The pieces of a text alone, all of them.
  std::vector<int32_t> pieces(std::string_view text) const;
  /// The text of the ids; special ones are passed over, and, where the pads are no special token, what is behind the
  /// end. Throws UserError on an id outside [0, size()).
  std::string decode(std::span<const int32_t> ids) const;
  /// The text as `decode` gives it back of a text whose characters all have pieces: normalised, with spaces where the
  /// tokenizer has them. In SentencePiece models characters without a piece stand as they are. Throws UserError if it
  /// is not UTF-8.
  std::string normalized(std::string_view text) const;
  /// The piece of an id, as the file has it; "" if there is none.
  std::string piece(int32_t id) const;
  /// The words that tokens make, readable; every token, special or not, lies in one.
  std::vector<TokenWord> words(std::span<const int32_t> ids) const;

 private:
  Tokenizer(std::unique_ptr<const TokenModel> model, std::string bytes, std::string where);
  void check_text(std::string_view text) const;
  void check_ids(std::span<const int32_t> ids) const;

  std::unique_ptr<const TokenModel> model_;
  std::string bytes_;
  std::string where_;
  Hash128 hash_;
};

}  // namespace triptych::text
