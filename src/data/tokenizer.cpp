#include "data/tokenizer.h"

#include <algorithm>
#include <exception>
#include <unordered_map>
#include <vector>

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace triptych::data {
namespace {

constexpr const char* kWhere = "tokenizer";
constexpr int64_t kMinVocabulary = 8, kMaxVocabulary = 1 << 24;

// The library trusts a model's tables without bounds, so damage must be found before it sees them: a model ends with a
// protobuf field of our own (number 1000, 16 bytes), the hash of all bytes before it. Other readers pass over it.
constexpr std::string_view kSealTag = "\xc2\x3e\x10";
constexpr std::size_t kSealBytes = kSealTag.size() + 16;

std::string seal_of(std::string_view model) {
  const Hash128 hash = hash128(std::as_bytes(std::span(model)));
  std::string seal(kSealTag);
  for (const uint64_t word : {hash.high, hash.low}) {
    for (int shift = 56; shift >= 0; shift -= 8) seal += static_cast<char>(word >> shift);
  }
  return seal;
}

bool is_sealed(std::string_view bytes) {
  if (bytes.size() < kSealBytes) return false;
  const std::size_t size = bytes.size() - kSealBytes;
  return bytes.substr(size) == seal_of(bytes.substr(0, size));
}

/// Hands captions to SentencePiece, evenly thinned to `max_captions`. An error of the source ends the corpus and waits
/// in `error`, so that no exception passes through the library.
class Corpus : public sentencepiece::SentenceIterator {
 public:
  Corpus(const CaptionSource& source, int64_t num_captions, int64_t max_captions)
      : source_(source), num_captions_(num_captions), max_captions_(max_captions) {
    advance();
  }
  bool done() const override { return done_; }
  void Next() override { advance(); }
  const std::string& value() const override { return caption_; }
  sentencepiece::util::Status status() const override { return {}; }

  std::exception_ptr error;
  int64_t num_used = 0;

 private:
  /// Of every num_captions captions, max_captions evenly spaced ones.
  bool keep() {
    if (num_captions_ <= max_captions_) return true;
    credit_ += max_captions_;
    if (credit_ < num_captions_) return false;
    credit_ -= num_captions_;
    return true;
  }

  void advance() {
    try {
      while (source_(caption_)) {
        const int64_t i = num_read_++;
        if (!is_utf8(caption_)) {
          throw UserError(kWhere,
                          fmt::format("captions must be UTF-8; caption {} is not. Convert it and ingest again.", i));
        }
        if (!keep() || caption_.find_first_not_of(" \t\r\n") == std::string::npos) continue;
        ++num_used;
        return;
      }
    } catch (...) {
      error = std::current_exception();
    }
    done_ = true;
  }

  const CaptionSource& source_;
  int64_t num_captions_, max_captions_;
  int64_t num_read_ = 0, credit_ = 0;
  std::string caption_;
  bool done_ = false;
};

}  // namespace

std::string train_tokenizer(const CaptionSource& captions, int64_t num_captions, const TokenizerTraining& options) {
  std::string faults;
  const auto require = [&](bool ok, const std::string& fault) {
    if (!ok) faults += (faults.empty() ? "" : "; ") + fault;
  };
  require(options.vocabulary >= kMinVocabulary && options.vocabulary <= kMaxVocabulary,
          fmt::format("the vocabulary must be {} to {}, found {}", kMinVocabulary, kMaxVocabulary, options.vocabulary));
  require(options.model == "unigram" || options.model == "bpe",
          fmt::format("the model must be \"unigram\" or \"bpe\", found \"{}\"", options.model));
  require(options.character_coverage >= 0.98 && options.character_coverage <= 1,
          fmt::format("the character coverage must be in [0.98, 1], found {}", options.character_coverage));
  require(options.max_captions >= 1, fmt::format("max_captions must be positive, found {}", options.max_captions));
  if (!faults.empty()) throw UserError(kWhere, faults + ". Correct the options.");

  Corpus corpus(captions, num_captions, options.max_captions);
  const bool has_text = !corpus.done();
  std::string model;
  std::string failure;
  if (has_text) {
    const std::unordered_map<std::string, std::string> arguments{
        {"model_type", options.model},
        {"vocab_size", std::to_string(options.vocabulary)},
        {"character_coverage", fmt::format("{}", options.character_coverage)},
        {"normalization_rule_name", "nmt_nfkc_cf"},
        {"hard_vocab_limit", "false"},
        {"max_sentence_length", std::to_string(1 << 20)},
        {"num_threads", "1"},  // the sums of several threads would depend on their number
        {"shuffle_input_sentence", "false"},
        {"pad_id", std::to_string(kPadId)},
        {"unk_id", std::to_string(kUnknownId)},
        {"bos_id", std::to_string(kBeginId)},
        {"eos_id", std::to_string(kEndId)},
        {"minloglevel", "3"},
    };
    const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &corpus, &model);
    if (!status.ok()) failure = status.ToString();
  }
  if (corpus.error) std::rethrow_exception(corpus.error);
  if (!has_text) throw UserError(kWhere, "training needs captions with text; found none. Ingest captions first.");
  if (!failure.empty()) {
    throw UserError(kWhere,
                    fmt::format("no vocabulary of {} pieces could be made from {} captions: {}. Ask for a larger "
                                "vocabulary, or lower the character coverage ({}).",
                                options.vocabulary, corpus.num_used, failure, options.character_coverage));
  }
  return model + seal_of(model);
}

bool is_own_tokenizer(const std::filesystem::path& path) {
  return is_sealed(read_text_file(path, kMaxTokenizerBytes));
}

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
};

Tokenizer::Tokenizer(std::unique_ptr<Model> model, std::string bytes, std::string where)
    : model_(std::move(model)),
      bytes_(std::move(bytes)),
      where_(std::move(where)),
      hash_(hash128(std::as_bytes(std::span(bytes_)))) {}

Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::from_bytes(std::string bytes, std::string_view where) {
  if (!is_sealed(bytes)) {
    throw WorldError(where,
                     fmt::format("a tokenizer must be a model made by `triptych tokenizer train`, which ends with "
                                 "a checksum; in these {} bytes it is missing or does not match. Train it again.",
                                 bytes.size()));
  }
  auto model = std::make_unique<Model>();
  auto& processor = model->processor;
  const auto status = processor.LoadFromSerializedProto(bytes);
  if (!status.ok()) {
    throw WorldError(where, fmt::format("a tokenizer must be a SentencePiece model; {} bytes are not one: {}. Train it "
                                        "again with `triptych tokenizer train`.",
                                        bytes.size(), status.ToString()));
  }
  if (processor.pad_id() != kPadId || processor.unk_id() != kUnknownId || processor.bos_id() != kBeginId ||
      processor.eos_id() != kEndId || processor.GetPieceSize() > kMaxVocabulary) {
    throw UserError(
        where, fmt::format("the ids of padding, unknown, begin and end must be {}, {}, {}, {} and the pieces "
                           "at most {}; found {}, {}, {}, {} and {} pieces. Train the tokenizer with "
                           "`triptych tokenizer train`.",
                           kPadId, kUnknownId, kBeginId, kEndId, kMaxVocabulary, processor.pad_id(), processor.unk_id(),
                           processor.bos_id(), processor.eos_id(), processor.GetPieceSize()));
  }
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(model), std::move(bytes), std::string(where)));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw UserError(path.string(),
                    "is no file that can be read. Name a tokenizer, which `triptych tokenizer train` makes.");
  }
  return from_bytes(read_text_file(path, kMaxTokenizerBytes), path.string());
}

int64_t Tokenizer::size() const {
  return model_->processor.GetPieceSize();
}

void Tokenizer::check_fits(int64_t model_vocabulary) const {
  if (size() <= model_vocabulary) return;
  throw UserError(where_, fmt::format("the model's vocabulary must hold the tokenizer's pieces: {} pieces, found a "
                                      "vocabulary of {}. Set it to {} or more, or train a smaller tokenizer.",
                                      size(), model_vocabulary, size()));
}

int32_t Tokenizer::encode(std::string_view text, std::span<int32_t> ids) const {
  TRIPTYCH_CHECK(ids.size() >= 2, "{} tokens have no room for begin and end", ids.size());
  if (!is_utf8(text)) {
    throw UserError(where_, fmt::format("text must be UTF-8; {} bytes are not. Convert the text.", text.size()));
  }
  std::vector<int> pieces;
  const auto status = model_->processor.Encode(text, &pieces);
  if (!status.ok()) {
    throw WorldError(where_, fmt::format("the tokenizer failed: {}. Train it again.", status.ToString()));
  }
  const std::size_t count = std::min(pieces.size(), ids.size() - 2);
  ids[0] = kBeginId;
  std::copy_n(pieces.begin(), count, ids.begin() + 1);
  ids[count + 1] = kEndId;
  std::fill(ids.begin() + static_cast<std::ptrdiff_t>(count) + 2, ids.end(), kPadId);
  return narrow<int32_t>(count + 2);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::vector<int> pieces;
  for (const int32_t id : ids) {
    if (id < 0 || id >= size()) {
      throw UserError(where_,
                      fmt::format("an id must be in [0, {}), found {}. Use ids of this tokenizer.", size(), id));
    }
    if (id != kPadId && id != kBeginId && id != kEndId) pieces.push_back(id);
  }
  std::string text;
  const auto status = model_->processor.Decode(pieces, &text);
  if (!status.ok()) {
    throw WorldError(where_, fmt::format("the tokenizer failed: {}. Train it again.", status.ToString()));
  }
  return text;
}

std::string Tokenizer::normalized(std::string_view text) const {
  if (!is_utf8(text)) {
    throw UserError(where_, fmt::format("a text must be UTF-8; one of {} bytes is not. Repair it.", text.size()));
  }
  std::vector<std::string> pieces;
  const auto status = model_->processor.Encode({text.data(), text.size()}, &pieces);
  if (!status.ok()) {
    throw WorldError(where_, fmt::format("the tokenizer failed: {}. Train it again.", status.ToString()));
  }
  constexpr std::string_view kSpace = "\u2581";  // how pieces write a space
  std::string result;
  for (const std::string& piece : pieces) {
    for (std::size_t i = 0; i < piece.size();) {
      const bool is_space = std::string_view(piece).substr(i).starts_with(kSpace);
      result += is_space ? ' ' : piece[i];
      i += is_space ? kSpace.size() : 1;
    }
  }
  return result.starts_with(' ') ? result.substr(1) : result;  // one is put before every text
}

std::string Tokenizer::piece(int32_t id) const {
  if (id < 0 || id >= size()) {
    throw UserError(where_, fmt::format("an id must be in [0, {}), found {}. Use ids of this tokenizer.", size(), id));
  }
  return model_->processor.IdToPiece(id);
}

}  // namespace triptych::data
