#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"
#include "evaluation/ngram_index.h"

namespace triptych::evaluation {

/// CIDEr-D of captions against the references of their images, 0 to 10: Vedantam et al. 2015 (CIDEr: Consensus-based
/// Image Description Evaluation, equations 1 to 5), as the COCO captions' evaluation computes it:
///
///   CIDEr-D(c, S) = 10 / (4 |S|) * sum over s in S, n = 1..4 of
///                   exp(-(l(c) - l(s))^2 / (2 * 6^2)) * min(g_n(c), g_n(s)) . g_n(s) / (|g_n(c)| |g_n(s)|)
///
/// g_n(x) has for each n-gram how often it occurs in x, times log(images / images of which a reference has it, at least
/// 1); l is the number of words. So what captions are compared with is the whole corpus: the score of one changes with
/// the others' references, and is 0 in a corpus of one image, where every logarithm is 0. A term with a zero norm (an
/// empty text, one of fewer than n words, one of n-grams that all images have) is 0.
///
/// Words are what stands between white space, and case counts: captions are prepared before, with `plain_caption`; a
/// text without spaces is one word, so for Chinese captions chrF is the measure.
///
/// Keeps 8 bytes for each n-gram of each text, and the index of all of them. Texts are UTF-8; throws InternalError for
/// one that is not, and for an image without reference.
class CiderCounter {
 public:
  /// Adds one image: the caption that was produced, and its references.
  void add(std::string_view produced, std::span<const std::string> references);
  /// Of the images in order, each against the references of all. Linear in the n-grams.
  std::vector<double> scores() const;
  /// The mean of the scores; 0 without images.
  double corpus_score() const;
  int64_t num_images() const { return static_cast<int64_t>(images_.size()); }

 private:
  /// Of one text, by order: its n-grams, ascending, with how often each occurs.
  struct Counts {
    std::array<std::vector<std::pair<NgramIndex::Number, uint32_t>>, NgramIndex::kMaxOrder> by_order;
    int64_t num_words = 0;
  };
  struct Image {
    Counts produced;
    std::vector<Counts> references;
  };
  Counts count(std::string_view text);

  NgramIndex index_;
  std::vector<uint32_t> num_images_with_;  // by n-gram, in their references; those behind its end are in none
  std::vector<Image> images_;
};

}  // namespace triptych::evaluation
