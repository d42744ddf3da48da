#include "data/sample_order.h"

#include <bit>
#include <numeric>
#include <unordered_set>

#include "base/error.h"
#include "base/philox.h"

namespace triptych::data {
namespace {

// Four rounds make a Feistel network of random functions indistinguishable from a random permutation for large halves
// (Luby and Rackoff 1988); small data sets have small halves, so twice as many.
constexpr uint64_t kRounds = 8;

}  // namespace

SampleOrder::SampleOrder(uint64_t seed, uint64_t num_samples, uint64_t batch)
    : seed_(seed), num_samples_(num_samples), batch_(batch) {
  TRIPTYCH_CHECK(batch >= 1 && num_samples >= batch, "{} samples in batches of {}", num_samples, batch);
  const auto bits = static_cast<uint32_t>(std::bit_width(num_samples - 1));
  right_bits_ = bits / 2;
  left_bits_ = bits - right_bits_;
}

uint64_t SampleOrder::sample(uint64_t epoch, uint64_t index) const {
  TRIPTYCH_CHECK(index < num_samples_, "index {} of {}", index, num_samples_);
  const RandomKey key = random_key(seed_, "sample order", epoch);
  const uint64_t left_mask = (uint64_t{1} << left_bits_) - 1, right_mask = (uint64_t{1} << right_bits_) - 1;
  uint64_t value = index;
  do {
    uint64_t left = value >> right_bits_, right = value & right_mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      // A half has at most 32 bits, so the round and the half together are one index of Philox.
      if (round % 2 == 0) {
        left ^= philox4x32(key, round << 32 | right)[0] & left_mask;
      } else {
        right ^= philox4x32(key, round << 32 | left)[0] & right_mask;
      }
    }
    value = left << right_bits_ | right;
  } while (value >= num_samples_);
  return value;
}

uint64_t SampleOrder::sample_at(uint64_t position) const {
  const Place p = place(position);
  if (goes_round()) {
    // A batch ends with an epoch once in so many epochs.
    const uint64_t period = batch_ / std::gcd(num_samples_, batch_);
    return sample(p.epoch - p.epoch % period, p.index);
  }
  if (batch_ == 1 || p.epoch == 0) return sample(p.epoch, p.index);
  const std::shared_ptr<const Moves> moved = moves(p.epoch);
  const auto found = moved->find(p.index);
  return sample(p.epoch, found == moved->end() ? p.index : found->second);
}

SampleOrder::Moves SampleOrder::make_moves(uint64_t epoch) const {
  Moves moved;
  const uint64_t tail =
      epoch % batch_ * (num_samples_ % batch_) % batch_;  // of the batch in work when the epoch begins
  if (tail == 0) return moved;
  std::unordered_set<uint64_t> before;
  for (uint64_t k = 1; k <= tail; ++k) before.insert(sample(epoch - 1, num_samples_ - k));
  uint64_t other = batch_ - tail;  // the first index behind that batch
  for (uint64_t index = 0; index < batch_ - tail; ++index) {
    if (!before.contains(sample(epoch, index))) continue;
    while (before.contains(sample(epoch, other))) ++other;
    moved[index] = other;
    moved[other++] = index;
  }
  return moved;
}

std::shared_ptr<const SampleOrder::Moves> SampleOrder::moves(uint64_t epoch) const {
  const std::lock_guard lock(mutex_);
  Known& known = known_[epoch % 2];
  if (known.epoch != epoch) known = {epoch, std::make_shared<const Moves>(make_moves(epoch))};
  return known.moves;
}

}  // namespace triptych::data
