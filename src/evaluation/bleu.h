#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::evaluation {

/// BLEU and what it is made of. Precisions and score in percent, lengths in words.
struct BleuScore {
  double score = 0;
  std::array<double, 4> precisions{};  ///< of n-grams of 1 to 4 words, smoothed
  double brevity_penalty = 1;
  int64_t produced_length = 0;
  int64_t reference_length = 0;  ///< of each segment that of the reference nearest in length, of two the shorter
};

/// Corpus BLEU of texts against references: Papineni et al. 2002 (BLEU: a Method for Automatic Evaluation of Machine
/// Translation), as sacreBLEU 2 computes it by default (Post 2018, A Call for Clarity in Reporting BLEU Scores):
///
///   BLEU = BP * exp(mean over n = 1..4 of log p_n),  BP = exp(1 - r / c) where the texts' length c is less than r,
///   else 1
///
/// p_n counts the n-grams of all segments before it divides; an n-gram counts as often as the one reference has it that
/// has it most. Words are those of `words_13a` (tokenization "13a"), case counts. Smoothing "exp" (Chen and Cherry
/// 2014, method 3, as in mteval-v13a.pl): the k-th order that has n-grams, none of which is found, has p_n = 1 / (2^k *
/// their number). Its sacreBLEU signature is `case:mixed|eff:no|tok:13a|smooth:exp`.
///
/// The score is 0 where no word is found, also of no segment or empty texts; and where no text has four words, since
/// p_4 is 0 / 0 then (sacreBLEU's choice for corpora; it is not meant for single short sentences).
///
/// Cost: linear in the words. Keeps sums alone. Texts are UTF-8; throws InternalError for one that is not, and for a
/// segment without reference; an empty reference is one of no words.
class BleuCounter {
 public:
  /// Adds one segment.
  void add(std::string_view produced, std::span<const std::string> references);
  BleuScore corpus_score() const;
  int64_t num_segments() const { return num_segments_; }

 private:
  std::array<int64_t, 4> found_{}, produced_{};  // n-grams, by order
  int64_t produced_length_ = 0, reference_length_ = 0;
  int64_t num_segments_ = 0;
};

}  // namespace triptych::evaluation
