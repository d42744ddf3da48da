#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/rooms.h"

namespace triptych::text {

/// Gives the captions one after another; false at the end.
using CaptionSource = std::function<bool(std::string&)>;

struct TokenizerTraining {
  int64_t vocabulary = 8192;  ///< at most this many pieces, the four special ones included; fewer from a small corpus
  std::string model = "unigram";       ///< "unigram" or "bpe"
  double character_coverage = 0.9995;  ///< share of the corpus's characters that get pieces; the rest is unknown
  int64_t max_captions = 2'000'000;    ///< of a larger corpus, evenly spaced captions are used
};

/// Trains a SentencePiece model on the captions and returns it in SentencePiece's own form, sealed (own_model.h). Text
/// is normalised by NFKC and case-folded. One thread and no chance, so equal captions give equal bytes.
/// Throws UserError on options out of range, on a corpus without text, on captions that are not UTF-8, and when the
/// vocabulary is too small for the corpus's characters.
std::string train_tokenizer(const CaptionSource& captions, int64_t num_captions, const TokenizerTraining& options);

}  // namespace triptych::text
