#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/rooms.h"

namespace triptych::base {

/// What a random number is for. Equal keys give equal numbers on any mesh, in any order, on any device.
struct RandomKey {
  uint64_t seed = 0;     ///< the run's seed mixed with what the number is for; see `random_key`
  uint64_t counter = 0;  ///< the step, or the epoch
};

/// FNV-1a of the purpose's name, mixed with the seed by SplitMix64's finaliser.
constexpr RandomKey random_key(uint64_t run_seed, std::string_view purpose, uint64_t counter) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : purpose) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  uint64_t z = hash + (run_seed + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return {z ^ (z >> 31), counter};
}

/// Philox4x32-10: four 32-bit words for one (key, index). The counter words are {index, key.counter}, the key is
/// key.seed. Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3.
constexpr std::array<uint32_t, 4> philox4x32(RandomKey key, uint64_t index) {
  std::array<uint32_t, 4> c{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                            static_cast<uint32_t>(key.counter), static_cast<uint32_t>(key.counter >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c[0];
    const uint64_t p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// The word of element `i`: element i takes word i % 4 of block i / 4.
constexpr uint32_t philox_word(RandomKey key, uint64_t i) {
  return philox4x32(key, i / 4)[i % 4];
}

/// Uniform in [0, 1) with 24 bits.
constexpr float philox_uniform(RandomKey key, uint64_t i) {
  return static_cast<float>(philox_word(key, i) >> 8) * 0x1.0p-24f;
}

/// Standard normal by Box and Muller from the words of block i / 2, computed in double.
inline double philox_normal(RandomKey key, uint64_t i) {
  const std::array<uint32_t, 4> w = philox4x32(key, i / 2);
  const double u = (static_cast<double>(w[0]) + 1.0) * 0x1.0p-32;  // (0, 1]
  const double v = static_cast<double>(w[1]) * 0x1.0p-32;
  const double radius = std::sqrt(-2.0 * std::log(u));
  const double angle = 6.283185307179586476925 * v;
  return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace triptych::base
