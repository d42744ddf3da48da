#include "data/epoch_order.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/error.h"

namespace triptych::data {
namespace {

// Four rounds make a Feistel network of random functions indistinguishable from a random permutation for large halves
// (Luby and Rackoff 1988); small data sets have small halves, so twice as many.
constexpr uint64_t kRounds = 8;

}  // namespace

uint64_t permuted(RandomKey key, uint64_t size, uint64_t index) {
  TRIPTYCH_CHECK(index < size, "index {} of {}", index, size);
  const auto bits = static_cast<uint32_t>(std::bit_width(size - 1));
  const uint32_t right_bits = bits / 2, left_bits = bits - right_bits;
  const uint64_t left_mask = (uint64_t{1} << left_bits) - 1, right_mask = (uint64_t{1} << right_bits) - 1;
  uint64_t value = index;
  do {
    uint64_t left = value >> right_bits, right = value & right_mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      // A half has at most 32 bits, so the round and the half together are one index of Philox.
      if (round % 2 == 0) {
        left ^= philox4x32(key, round << 32 | right)[0] & left_mask;
      } else {
        right ^= philox4x32(key, round << 32 | left)[0] & right_mask;
      }
    }
    value = left << right_bits | right;
  } while (value >= size);
  return value;
}

EpochOrder::EpochOrder(uint64_t seed, uint64_t num_samples) : seed_(seed), num_samples_(num_samples) {
  TRIPTYCH_CHECK(num_samples >= 1, "{} samples", num_samples);
}

EpochOrder::EpochOrder(uint64_t seed, std::vector<uint64_t> first_sample, uint64_t window_shards)
    : seed_(seed),
      num_samples_(first_sample.empty() ? 0 : first_sample.back()),
      first_sample_(std::move(first_sample)),
      window_shards_(window_shards) {
  TRIPTYCH_CHECK(num_samples_ >= 1, "{} samples", num_samples_);
}

uint64_t EpochOrder::sample(uint64_t epoch, uint64_t index) const {
  const RandomKey key = random_key(seed_, "sample order", epoch);
  if (window_shards_ == 0) return permuted(key, num_samples_, index);
  TRIPTYCH_CHECK(index < num_samples_, "index {} of {}", index, num_samples_);
  const std::shared_ptr<const Windows> all = windows(epoch);
  const std::size_t w = window_of(*all, index);
  const uint64_t begin = all->first_index[w], size = all->first_index[w + 1] - begin;
  // The windows' sizes differ, or their places: each has a key of its own.
  uint64_t left = permuted(random_key(key.seed, "window", epoch << 20 ^ w), size, index - begin);
  for (std::size_t k = w * window_shards_;; ++k) {
    const uint32_t shard = all->shards[k];
    const uint64_t in_shard = first_sample_[shard + 1] - first_sample_[shard];
    if (left < in_shard) return first_sample_[shard] + left;
    left -= in_shard;
  }
}

std::shared_ptr<const EpochOrder::Windows> EpochOrder::windows(uint64_t epoch) const {
  const std::lock_guard lock(mutex_);
  Known& known = known_[epoch % 2];
  if (known.epoch == epoch) return known.windows;
  Windows made;
  const RandomKey key = random_key(seed_, "shard order", epoch);
  uint64_t index = 0;
  for (uint64_t k = 0; k < num_shards(); ++k) {
    if (k % window_shards_ == 0) made.first_index.push_back(index);
    const auto shard = static_cast<uint32_t>(permuted(key, num_shards(), k));
    made.shards.push_back(shard);
    index += first_sample_[shard + 1] - first_sample_[shard];
  }
  made.first_index.push_back(index);
  known = {epoch, std::make_shared<const Windows>(std::move(made))};
  return known.windows;
}

std::size_t EpochOrder::window_of(const Windows& windows, uint64_t index) const {
  // The last one that begins at or before it: one without samples begins where the next does.
  return static_cast<std::size_t>(std::ranges::upper_bound(windows.first_index, index) - windows.first_index.begin() -
                                  1);
}

EpochOrder::Stretch EpochOrder::window(uint64_t epoch, uint64_t index) const {
  if (window_shards_ == 0) return {0, num_samples_};
  const std::shared_ptr<const Windows> all = windows(epoch);
  const std::size_t w = window_of(*all, index);
  return {all->first_index[w], all->first_index[w + 1]};
}

std::vector<uint32_t> EpochOrder::shards(uint64_t epoch, uint64_t index) const {
  if (window_shards_ == 0) {
    std::vector<uint32_t> all(first_sample_.empty() ? 0 : num_shards());
    std::iota(all.begin(), all.end(), 0u);
    return all;
  }
  const std::shared_ptr<const Windows> all = windows(epoch);
  const auto first = all->shards.begin() + static_cast<std::ptrdiff_t>(window_of(*all, index) * window_shards_);
  return {first, first + static_cast<std::ptrdiff_t>(
                             std::min<uint64_t>(window_shards_, static_cast<uint64_t>(all->shards.end() - first)))};
}

}  // namespace triptych::data
