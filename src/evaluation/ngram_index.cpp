#include "evaluation/ngram_index.h"

#include <limits>

#include "base/error.h"

namespace triptych::evaluation {

NgramIndex::Number NgramIndex::next_number() {
  TRIPTYCH_CHECK(size_ < std::numeric_limits<Number>::max(), "{} different n-grams", size_);
  return static_cast<Number>(size_++);
}

NgramIndex::Number NgramIndex::number_of_word(std::string_view word) {
  const auto found = words_.find(word);
  if (found != words_.end()) return found->second;
  return words_.emplace(word, next_number()).first->second;
}

NgramIndex::Number NgramIndex::number_of_longer(Number shorter, Number word) {
  const auto [place, is_new] = longer_.try_emplace(uint64_t{shorter} << 32 | word, Number{0});
  if (is_new) place->second = next_number();
  return place->second;
}

}  // namespace triptych::evaluation
