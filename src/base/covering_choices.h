#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::base {

/// One value of each factor, by their numbers.
using Choice = std::vector<int>;

/// Whether a choice may be tried. Value 0 of a factor must ask least of the others: what is refused stays refused
/// where a 0 becomes another value.
using ChoiceRule = std::function<bool(const Choice&)>;

/// Few choices, in which any two values of two factors meet that meet in some allowed choice, all of them allowed: a
/// pairwise covering array with constraints. No factors make one empty choice; a rule that refuses all zeros, none.
///
///   num_values  of each factor, at least 1
///
/// Greedy: each choice begins with a pair that is missing, then takes for one factor after the other the value that
/// meets most others for the first time; of equal ones the value that was taken least so far, then the first. The
/// result depends on the arguments alone.
///
/// Cost: for each choice as many calls of the rule as there are values, and as many again as there are pairs.
/// Source: Cohen et al. 1997, The AETG system, of whose candidates this takes one.
std::vector<Choice> covering_choices(std::span<const int> num_values, const ChoiceRule& is_allowed);

/// Every choice that is allowed, the last factor's values going round first.
std::vector<Choice> all_choices(std::span<const int> num_values, const ChoiceRule& is_allowed);

}  // namespace triptych::base
