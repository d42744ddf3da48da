#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"

namespace triptych::data {

/// Ids that every tokenizer of Triptych has.
inline constexpr int32_t kPadId = 0, kUnknownId = 1, kBeginId = 2, kEndId = 3;

/// The file in a data set's folder where `triptych tokenizer train` puts its own.
inline constexpr std::string_view kTokenizerName = "tokenizer.model";
inline constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

/// Gives the captions one after another; false at the end.
using CaptionSource = std::function<bool(std::string&)>;

struct TokenizerTraining {
  int64_t vocabulary = 8192;  ///< at most this many pieces, the four special ones included; fewer from a small corpus
  std::string model = "unigram";       ///< "unigram" or "bpe"
  double character_coverage = 0.9995;  ///< share of the corpus's characters that get pieces; the rest is unknown
  int64_t max_captions = 2'000'000;    ///< of a larger corpus, evenly spaced captions are used
};

/// Trains a SentencePiece model on the captions and returns it in SentencePiece's own form, with a checksum at its end
/// (a protobuf field that SentencePiece passes over). Text is normalised by NFKC
/// and case-folded. One thread and no chance, so equal captions give equal bytes.
/// Throws UserError on options out of range, on a corpus without text, on captions that are not UTF-8, and when the
/// vocabulary is too small for the corpus's characters.
std::string train_tokenizer(const CaptionSource& captions, int64_t num_captions, const TokenizerTraining& options);

/// Whether the file is a tokenizer that train_tokenizer made, whole. Throws WorldError if it cannot be read.
bool is_own_tokenizer(const std::filesystem::path& path);

/// A trained SentencePiece model. Immutable and thread-safe.
class Tokenizer {
 public:
  /// Throws WorldError if the bytes are not what train_tokenizer gave, UserError if their special ids differ.
  /// `where` names the origin in errors.
  static std::shared_ptr<const Tokenizer> from_bytes(std::string bytes, std::string_view where);
  /// Of a file's bytes. Throws UserError too if the path is none, but a folder, for example.
  static std::shared_ptr<const Tokenizer> from_file(const std::filesystem::path& path);
  ~Tokenizer();

  /// Number of pieces; ids lie in [0, size()).
  int64_t size() const;
  /// Refuses (UserError) a model whose embedding has fewer rows than this tokenizer has pieces. More is fine.
  void check_fits(int64_t model_vocabulary) const;
  /// The model as it was loaded, to be embedded in a checkpoint, and its hash.
  const std::string& bytes() const { return bytes_; }
  const Hash128& hash() const { return hash_; }

  /// Writes [begin] pieces [end] and then pads over all of `ids` (2 or more); too many pieces are cut, the end is kept.
  /// Returns the length with begin and end. Throws UserError if `text` is not UTF-8.
  int32_t encode(std::string_view text, std::span<int32_t> ids) const;
  /// The text of the ids between begin and end; pads are skipped, unknown pieces show as U+2047. Throws UserError on an
  /// id outside [0, size()).
  std::string decode(std::span<const int32_t> ids) const;
  /// The text as the tokenizer sees it: normalised, case-folded, with single spaces, characters without a piece as they
  /// are. What `decode` gives of a text whose characters all have pieces. Throws UserError if it is not UTF-8.
  std::string normalized(std::string_view text) const;
  /// The piece of an id, as in SentencePiece ("▁" stands for a space).
  std::string piece(int32_t id) const;

 private:
  struct Model;
  Tokenizer(std::unique_ptr<Model> model, std::string bytes, std::string where);

  std::unique_ptr<Model> model_;
  std::string bytes_;
  std::string where_;
  Hash128 hash_;
};

}  // namespace triptych::data
