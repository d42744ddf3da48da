#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

/// Numbers the n-grams of words that it is shown, of 1 to 4 words: equal ones have one number, others another, from 0
/// upwards in the order in which they are first seen. Exact: no hash stands for an n-gram.
///
/// Memory: 24 to 48 bytes a different n-gram, and those of words their letters. Not thread-safe.
class NgramIndex {
 public:
  using Number = uint32_t;
  static constexpr std::size_t kMaxOrder = 4;
  /// Of one text: at n - 1 the numbers of its n-grams, in order, each as often as it occurs.
  using Numbers = std::array<std::vector<Number>, kMaxOrder>;

  /// Of the text's words; a word is anything. Throws InternalError for the n-gram too many, beyond 2^32 - 2.
  template <typename Words>
  Numbers number(const Words& words) {
    Numbers numbers;
    std::vector<Number>& unigrams = numbers[0];
    for (const auto& word : words) unigrams.push_back(number_of_word(word));
    for (std::size_t n = 2; n <= kMaxOrder && n <= unigrams.size(); ++n) {
      const std::vector<Number>& shorter = numbers[n - 2];
      numbers[n - 1].reserve(unigrams.size() - n + 1);
      for (std::size_t i = 0; i + n <= unigrams.size(); ++i) {
        numbers[n - 1].push_back(number_of_longer(shorter[i], unigrams[i + n - 1]));
      }
    }
    return numbers;
  }

  /// How many different n-grams there are, of all orders.
  std::size_t size() const { return size_; }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  static constexpr Number kNone = 0xFFFFFFFF;
  /// Of an n-gram of several words: its key is the number of all but the last word, and that of the last.
  struct Slot {
    uint64_t key = 0;
    Number number = kNone;
  };
  Number number_of_word(std::string_view word);
  Number number_of_longer(Number shorter, Number word);
  Number next_number();
  Slot& slot_of(uint64_t key);
  void grow();

  std::unordered_map<std::string, Number, Hash, std::equal_to<>> words_;
  // Open addressing with linear probing, at most two thirds full: most n-grams of a corpus are there once, and with a
  // node for each CIDEr of 50,000 images takes three times as long.
  std::vector<Slot> slots_;
  int log2_slots_ = 0;
  std::size_t num_longer_ = 0, size_ = 0;
};

}  // namespace triptych::evaluation
