#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::evaluation {

struct ChrfOptions {
  int char_order = 6;  ///< n-grams of 1 to this many characters; at most 10
  int word_order = 0;  ///< and of 1 to this many words; 2 makes it chrF++; at most 4
  double beta = 2;     ///< how many times more recall counts than precision
};

/// The character n-gram F-score of texts against references, 0 to 100: chrF of Popović 2015 (chrF: character n-gram
/// F-score for automatic MT evaluation), and with word n-grams chrF++ of Popović 2017, both as sacreBLEU 2 computes
/// them by default. It needs no word boundaries, so it serves Chinese as well as English.
///
/// Characters are code points; white space is taken out before characters are counted. Of several references the one
/// with the best score counts. An order of which the text or the reference has no n-gram is left out of the mean of its
/// segment (or of the corpus, where no segment has any).
///
/// Texts are UTF-8; throws InternalError for one that is not, for no reference, and for options outside their ranges.
class ChrfCounter {
 public:
  explicit ChrfCounter(const ChrfOptions& options = {});

  /// Adds one segment; returns its own score.
  double add(std::string_view produced, std::span<const std::string> references);
  /// Of all segments together: n-grams are counted over all of them before anything is divided. 0 without segments.
  double corpus_score() const;
  int64_t num_segments() const { return num_segments_; }

  static constexpr int kMaxOrders = 14;

 private:
  /// N-grams of one order: of the text, of the reference, and common to both.
  struct Counts {
    int64_t produced = 0, reference = 0, common = 0;
  };
  using Statistics = std::array<Counts, kMaxOrders>;
  class NGrams;
  static Statistics compare(const NGrams& produced, const NGrams& reference);
  double score(const Statistics& statistics) const;

  ChrfOptions options_;
  Statistics total_{};
  int64_t num_segments_ = 0;
};

}  // namespace triptych::evaluation
