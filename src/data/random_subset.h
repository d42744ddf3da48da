#pragma once

#include <cstdint>
#include <span>

#include "base/philox.h"

namespace triptych::data {

/// chosen.size() different numbers of [0, population), ascending: those whose words of `key` are the smallest, so every
/// set is as likely as any other. A pure function; cost: `population` words and O(population) more.
void draw_subset(RandomKey key, int64_t population, std::span<int32_t> chosen);

}  // namespace triptych::data
