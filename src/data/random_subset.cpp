#include "data/random_subset.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"

namespace triptych::data {

void draw_subset(RandomKey key, int64_t population, std::span<int32_t> chosen) {
  TRIPTYCH_CHECK(population >= 0 && chosen.size() <= static_cast<std::size_t>(population), "{} numbers of {}",
                 chosen.size(), population);
  std::vector<std::pair<uint32_t, int32_t>> numbers;  // a word that two have is one number's before the other's
  numbers.reserve(static_cast<std::size_t>(population));
  for (int64_t i = 0; i < population; ++i) {
    numbers.emplace_back(philox_word(key, static_cast<uint64_t>(i)), static_cast<int32_t>(i));
  }
  std::nth_element(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(chosen.size()), numbers.end());
  for (std::size_t k = 0; k < chosen.size(); ++k) chosen[k] = numbers[k].second;
  std::ranges::sort(chosen);
}

}  // namespace triptych::data
