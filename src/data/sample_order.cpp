#include "data/sample_order.h"

#include <bit>

#include "base/error.h"
#include "base/philox.h"

namespace triptych::data {
namespace {

// Four rounds make a Feistel network of random functions indistinguishable from a random permutation for large halves
// (Luby and Rackoff 1988); small data sets have small halves, so twice as many.
constexpr uint64_t kRounds = 8;

}  // namespace

SampleOrder::SampleOrder(uint64_t seed, uint64_t num_samples) : seed_(seed), num_samples_(num_samples) {
  TRIPTYCH_CHECK(num_samples >= 1, "no samples");
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

}  // namespace triptych::data
