#include "evaluation/chrf.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "evaluation/text_words.h"

namespace triptych::evaluation {
namespace {

constexpr int kMaxCharOrder = 10, kMaxWordOrder = 4;

// Of ASCII: Python's string.punctuation.
bool is_punctuation(char32_t c) {
  return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
}

// Words as chrF++ takes them: a punctuation mark at a word's end, or else at its start, is a word of its own.
std::vector<std::u32string> words_of(const std::u32string& text) {
  std::vector<std::u32string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = static_cast<std::size_t>(
        std::find_if(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), is_white_space) - text.begin());
    const std::u32string word = text.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    if (word.size() > 1 && is_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (word.size() > 1 && is_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(word);
    }
  }
  return words;
}

}  // namespace

// Of one text: for each order its n-grams with their counts, those of characters first.
class ChrfCounter::NGrams {
 public:
  NGrams(std::string_view utf8, const ChrfOptions& options) {
    const std::u32string text = to_code_points(utf8);
    std::u32string characters;
    std::copy_if(text.begin(), text.end(), std::back_inserter(characters),
                 [](char32_t c) { return !is_white_space(c); });
    for (int n = 1; n <= options.char_order; ++n) {
      Order& order = orders_.emplace_back();
      const auto length = static_cast<std::size_t>(n);
      for (std::size_t i = 0; i + length <= characters.size(); ++i) order.add(characters.substr(i, length));
    }
    if (options.word_order == 0) return;
    const std::vector<std::u32string> words = words_of(text);
    for (int n = 1; n <= options.word_order; ++n) {
      Order& order = orders_.emplace_back();
      const auto length = static_cast<std::size_t>(n);
      for (std::size_t i = 0; i + length <= words.size(); ++i) {
        std::u32string joined;  // no word has a space
        for (std::size_t k = 0; k < length; ++k) joined += words[i + k] + U' ';
        order.add(joined);
      }
    }
  }

  struct Order {
    std::unordered_map<std::u32string, int64_t> counts;
    int64_t total = 0;
    void add(const std::u32string& ngram) {
      ++counts[ngram];
      ++total;
    }
  };
  const std::vector<Order>& orders() const { return orders_; }

 private:
  std::vector<Order> orders_;
};

ChrfCounter::ChrfCounter(const ChrfOptions& options) : options_(options) {
  TRIPTYCH_CHECK(options.char_order >= 1 && options.char_order <= kMaxCharOrder && options.word_order >= 0 &&
                     options.word_order <= kMaxWordOrder && options.beta > 0,
                 "char_order {}, word_order {}, beta {}", options.char_order, options.word_order, options.beta);
}

ChrfCounter::Statistics ChrfCounter::compare(const NGrams& produced, const NGrams& reference) {
  Statistics statistics{};
  for (std::size_t i = 0; i < produced.orders().size(); ++i) {
    const NGrams::Order &ours = produced.orders()[i], &theirs = reference.orders()[i];
    // What cannot be found because the reference is too short counts for nothing.
    statistics[i] = {theirs.total > 0 ? ours.total : 0, theirs.total, 0};
    for (const auto& [ngram, count] : ours.counts) {
      const auto found = theirs.counts.find(ngram);
      if (found != theirs.counts.end()) statistics[i].common += std::min(count, found->second);
    }
  }
  return statistics;
}

// F = (1 + beta^2) P R / (beta^2 P + R), P and R the means over the orders.
double ChrfCounter::score(const Statistics& statistics) const {
  double precision = 0, recall = 0;
  int num_orders = 0;
  for (const Counts& counts : statistics) {
    if (counts.produced == 0 || counts.reference == 0) continue;
    precision += static_cast<double>(counts.common) / static_cast<double>(counts.produced);
    recall += static_cast<double>(counts.common) / static_cast<double>(counts.reference);
    ++num_orders;
  }
  if (precision + recall == 0) return 0;
  precision /= num_orders;
  recall /= num_orders;
  const double factor = options_.beta * options_.beta;
  return 100 * (1 + factor) * precision * recall / (factor * precision + recall);
}

double ChrfCounter::add(std::string_view produced, std::span<const std::string> references) {
  TRIPTYCH_CHECK(!references.empty(), "a segment has no reference");
  const NGrams ours(produced, options_);
  Statistics best{};
  double best_score = -1;
  for (const std::string& reference : references) {
    const Statistics statistics = compare(ours, NGrams(reference, options_));
    const double value = score(statistics);
    if (value <= best_score) continue;
    best_score = value;
    best = statistics;
  }
  for (std::size_t i = 0; i < total_.size(); ++i) {
    total_[i].produced += best[i].produced;
    total_[i].reference += best[i].reference;
    total_[i].common += best[i].common;
  }
  ++num_segments_;
  return best_score;
}

double ChrfCounter::corpus_score() const {
  return score(total_);
}

}  // namespace triptych::evaluation
