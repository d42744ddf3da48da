#include "evaluation/ngram_index.h"

#include <utility>

#include "base/error.h"

namespace triptych::evaluation {

NgramIndex::Number NgramIndex::next_number() {
  TRIPTYCH_CHECK(size_ < kNone, "{} different n-grams", size_);
  return static_cast<Number>(size_++);
}

NgramIndex::Number NgramIndex::number_of_word(std::string_view word) {
  const auto found = words_.find(word);
  if (found != words_.end()) return found->second;
  return words_.emplace(word, next_number()).first->second;
}

NgramIndex::Number NgramIndex::number_of_longer(Number shorter, Number word) {
  if (3 * num_longer_ >= 2 * slots_.size()) grow();
  Slot& slot = slot_of(uint64_t{shorter} << 32 | word);
  if (slot.number == kNone) {
    slot = {uint64_t{shorter} << 32 | word, next_number()};
    ++num_longer_;
  }
  return slot.number;
}

// The slot with this key, or the free one where it belongs.
NgramIndex::Slot& NgramIndex::slot_of(uint64_t key) {
  // Knuth's multiplicative hashing: the upper bits of the product with 2^64 over the golden ratio.
  std::size_t place = key * 0x9E3779B97F4A7C15u >> (64 - log2_slots_);
  while (slots_[place].number != kNone && slots_[place].key != key) place = (place + 1) & (slots_.size() - 1);
  return slots_[place];
}

void NgramIndex::grow() {
  constexpr int kLog2First = 8;
  log2_slots_ = slots_.empty() ? kLog2First : log2_slots_ + 1;
  const std::vector<Slot> before = std::exchange(slots_, std::vector<Slot>(std::size_t{1} << log2_slots_));
  for (const Slot& slot : before) {
    if (slot.number != kNone) slot_of(slot.key) = slot;
  }
}

}  // namespace triptych::evaluation
