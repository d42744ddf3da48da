#include "data/source_mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace triptych::data {
namespace {

constexpr double kWhole = 0x1p32;

__extension__ using Wide = unsigned __int128;

/// n * part / whole, rounded to the nearest, halves upwards.
uint64_t share_of(uint64_t n, uint64_t part, uint64_t whole) {
  return static_cast<uint64_t>((2 * Wide{n} * part + whole) / (2 * Wide{whole}));
}
/// n * part / whole, rounded upwards.
uint64_t at_most_of(uint64_t n, uint64_t part, uint64_t whole) {
  return static_cast<uint64_t>((Wide{n} * part + whole - 1) / whole);
}

}  // namespace

SourceMix::SourceMix(std::span<const double> weights) {
  if (weights.empty() || weights.size() > kMaxSources) {
    throw UserError("data.source", fmt::format("must be 1 to {} sources, found {}. Join some of them into one data set",
                                               kMaxSources, weights.size()));
  }
  for (const double weight : weights) {
    if (!(weight > 0) || !std::isfinite(weight)) {
      throw UserError("data.source", fmt::format("a weight must be above 0, found {}. Leave out a source that is not "
                                                 "to be seen",
                                                 weight));
    }
  }
  // Divided first, so that the sum is finite.
  const double greatest = *std::ranges::max_element(weights);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0,
                                     [&](double so_far, double weight) { return so_far + weight / greatest; });
  for (const double weight : weights) {
    parts_.push_back(std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(weight / greatest / sum * kWhole))));
  }
  rest_.resize(parts_.size());
  uint64_t rest = 0;
  for (std::size_t s = parts_.size(); s-- > 0;) rest_[s] = rest += parts_[s];
}

double SourceMix::share(std::size_t source) const {
  return static_cast<double>(parts_.at(source)) / static_cast<double>(rest_.front());
}

std::string SourceMix::text() const {
  std::string text;
  for (const uint64_t part : parts_) text += fmt::format("{}{}", text.empty() ? "" : " ", part);
  return text;
}

uint64_t SourceMix::count(std::size_t source, uint64_t position) const {
  uint64_t left = position;
  for (std::size_t s = 0; s < source; ++s) left -= share_of(left, parts_[s], rest_[s]);
  return share_of(left, parts_[source], rest_[source]);
}

SourceMix::Place SourceMix::place(uint64_t position) const {
  // The one that has one more of the positions up to this one than of those before it. A source takes this position or
  // leaves it to those behind, which then see one more; so the counts of those behind stay until one takes it.
  uint64_t left = position, left_after = position + 1;
  for (std::size_t s = 0;; ++s) {
    const uint64_t count = share_of(left, parts_[s], rest_[s]), after = share_of(left_after, parts_[s], rest_[s]);
    if (after != count) return {s, count};
    left -= count;
    left_after -= after;
  }
}

uint64_t SourceMix::position_after(std::size_t source, uint64_t count) const {
  uint64_t low = count, high = std::max<uint64_t>(1, count);
  while (this->count(source, high) < count) high *= 2;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (this->count(source, middle) < count) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

uint64_t SourceMix::most(std::size_t source, uint64_t length) const {
  uint64_t left = length;
  for (std::size_t s = 0; s < source; ++s) left = at_most_of(left, rest_[s] - parts_[s], rest_[s]);
  return at_most_of(left, parts_[source], rest_[source]);
}

}  // namespace triptych::data
