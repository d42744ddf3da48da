#include "base/covering_choices.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace triptych::base {
namespace {

// Which values of two factors have met, or need not meet.
class Pairs {
 public:
  Pairs(std::span<const int> num_values, const ChoiceRule& is_allowed) {
    for (const int count : num_values) {
      begin_.push_back(num_all_);
      num_all_ += static_cast<std::size_t>(count);
    }
    has_met_.assign(num_all_ * num_all_, 1);
    Choice choice(num_values.size(), 0);
    for (std::size_t a = 0; a < num_values.size(); ++a) {
      for (std::size_t b = a + 1; b < num_values.size(); ++b) {
        for (choice[a] = 0; choice[a] < num_values[a]; ++choice[a]) {
          for (choice[b] = 0; choice[b] < num_values[b]; ++choice[b]) {
            if (is_allowed(choice)) set(a, choice[a], b, choice[b], 0);
          }
          choice[b] = 0;
        }
        choice[a] = 0;
      }
    }
  }

  bool has_met(std::size_t a, int value_a, std::size_t b, int value_b) const {
    return has_met_[index(a, value_a) * num_all_ + index(b, value_b)] != 0;
  }
  void meet(const Choice& choice) {
    for (std::size_t a = 0; a < choice.size(); ++a) {
      for (std::size_t b = a + 1; b < choice.size(); ++b) set(a, choice[a], b, choice[b], 1);
    }
  }

 private:
  std::size_t index(std::size_t factor, int value) const { return begin_[factor] + static_cast<std::size_t>(value); }
  void set(std::size_t a, int value_a, std::size_t b, int value_b, char value) {
    has_met_[index(a, value_a) * num_all_ + index(b, value_b)] = value;
    has_met_[index(b, value_b) * num_all_ + index(a, value_a)] = value;
  }

  std::vector<std::size_t> begin_;  // of each factor's values among all
  std::size_t num_all_ = 0;
  std::vector<char> has_met_;  // [num_all_, num_all_]
};

// Gives the factors that are not among `taken` their values; those are 0 so far.
void complete(Choice& choice, std::vector<std::size_t> taken, std::span<const int> num_values,
              const ChoiceRule& is_allowed, const Pairs& pairs, const std::vector<std::vector<int>>& num_uses) {
  for (std::size_t factor = 0; factor < num_values.size(); ++factor) {
    if (std::ranges::find(taken, factor) != taken.end()) continue;
    int best = 0;
    std::tuple<int, int> best_worth{-1, 0};
    for (int value = 0; value < num_values[factor]; ++value) {
      int num_new = 0;
      for (const std::size_t other : taken) num_new += pairs.has_met(factor, value, other, choice[other]) ? 0 : 1;
      const std::tuple worth{num_new, -num_uses[factor][static_cast<std::size_t>(value)]};
      if (worth <= best_worth) continue;
      choice[factor] = value;
      if (value > 0 && !is_allowed(choice)) continue;
      best = value;
      best_worth = worth;
    }
    choice[factor] = best;
    taken.push_back(factor);
  }
}

}  // namespace

std::vector<Choice> covering_choices(std::span<const int> num_values, const ChoiceRule& is_allowed) {
  for (const int count : num_values) TRIPTYCH_CHECK(count >= 1, "a factor has {} values", count);
  if (num_values.size() < 2) return all_choices(num_values, is_allowed);  // there are no pairs
  Pairs pairs(num_values, is_allowed);
  std::vector<std::vector<int>> num_uses;
  for (const int count : num_values) num_uses.emplace_back(static_cast<std::size_t>(count), 0);
  std::vector<Choice> all;
  for (std::size_t a = 0; a < num_values.size(); ++a) {
    for (std::size_t b = a + 1; b < num_values.size(); ++b) {
      for (int value_a = 0; value_a < num_values[a]; ++value_a) {
        for (int value_b = 0; value_b < num_values[b]; ++value_b) {
          if (pairs.has_met(a, value_a, b, value_b)) continue;
          Choice choice(num_values.size(), 0);
          choice[a] = value_a;
          choice[b] = value_b;
          complete(choice, {a, b}, num_values, is_allowed, pairs, num_uses);
          pairs.meet(choice);
          for (std::size_t f = 0; f < choice.size(); ++f) ++num_uses[f][static_cast<std::size_t>(choice[f])];
          all.push_back(std::move(choice));
        }
      }
    }
  }
  return all;
}

std::vector<Choice> all_choices(std::span<const int> num_values, const ChoiceRule& is_allowed) {
  std::vector<Choice> all;
  Choice choice(num_values.size(), 0);
  for (;;) {
    if (is_allowed(choice)) all.push_back(choice);
    std::size_t factor = num_values.size();
    while (factor > 0 && ++choice[factor - 1] == num_values[factor - 1]) choice[--factor] = 0;
    if (factor == 0) return all;
  }
}

}  // namespace triptych::base
