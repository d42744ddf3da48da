#include "text/training.h"

#include <exception>
#include <unordered_map>

#include <sentencepiece_trainer.h>

#include "base/error.h"
#include "base/text.h"
#include "text/own_model.h"

namespace triptych::text {
namespace {

constexpr const char* kWhere = "tokenizer";
constexpr int64_t kMinVocabulary = 8, kMaxVocabulary = 1 << 24;

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
        {"pad_id", std::to_string(kOwnPadId)},
        {"unk_id", std::to_string(kOwnUnknownId)},
        {"bos_id", std::to_string(kOwnBeginId)},
        {"eos_id", std::to_string(kOwnEndId)},
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

}  // namespace triptych::text
