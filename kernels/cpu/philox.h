// Philox4x32-10 of base/philox.h, a vector of blocks at a time: the same bits. Included once for every target.

#include "base/philox.h"
#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_PHILOX_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_PHILOX_H
#undef TRIPTYCH_KERNELS_CPU_PHILOX_H
#else
#define TRIPTYCH_KERNELS_CPU_PHILOX_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// A 64-bit lane for each block, its words in the lanes' low halves.
using Blocks = hn::ScalableTag<uint64_t>;
inline constexpr Blocks kBlocks{};

/// philox_words writes whole vectors: up to this many words more than asked for.
inline constexpr int64_t kPhiloxPadding = 4 * hn::MaxLanes(Blocks());

struct PhiloxVectors {
  hn::Vec<Blocks> word0, word1, word2, word3;  ///< what the high halves hold is undefined
};

/// The keys of the ten rounds, in memory: a vector instruction reads and broadcasts them in one.
struct PhiloxRounds {
  explicit PhiloxRounds(RandomKey key) : counter(key.counter) {
    auto k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      key0[round] = k0;
      key1[round] = k1;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  }
  uint64_t counter;
  uint64_t key0[10], key1[10];
};

/// Blocks first, first + 1, ...
HWY_INLINE PhiloxVectors philox_vectors(const PhiloxRounds& rounds, uint64_t first) {
  const auto multiply = [](hn::Vec<Blocks> a, uint32_t b) HWY_ATTR {
#if HWY_TARGET == HWY_SCALAR
    // One lane has no odd neighbour for MulEven.
    return hn::Mul(hn::And(a, hn::Set(kBlocks, uint64_t{0xffffffff})), hn::Set(kBlocks, uint64_t{b}));
#else
    // The even 32-bit lanes are the low halves, so MulEven takes them, and nothing need be masked.
    const hn::Repartition<uint32_t, Blocks> words;
    return hn::MulEven(hn::BitCast(words, a), hn::Set(words, b));
#endif
  };
  auto c0 = hn::Iota(kBlocks, first);
  auto c1 = hn::ShiftRight<32>(c0);
  auto c2 = hn::Set(kBlocks, rounds.counter);
  auto c3 = hn::Set(kBlocks, rounds.counter >> 32);
  for (int round = 0; round < 10; ++round) {
    const auto p0 = multiply(c0, 0xD2511F53u);
    const auto p1 = multiply(c2, 0xCD9E8D57u);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), hn::Set(kBlocks, rounds.key0[round]));
    c1 = p1;
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), hn::Set(kBlocks, rounds.key1[round]));
    c3 = p0;
  }
  return {c0, c1, c2, c3};
}

/// The words of blocks [first, first + num_blocks), four a block, in the order of the elements that take them.
HWY_INLINE void philox_words(RandomKey key, uint64_t first, int64_t num_blocks, uint32_t* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(kBlocks));
  const PhiloxRounds rounds(key);
  const auto low_half = hn::Set(kBlocks, uint64_t{0xffffffff});
  for (int64_t block = 0; block < num_blocks; block += lanes) {
    const PhiloxVectors w = philox_vectors(rounds, first + static_cast<uint64_t>(block));
    const auto pair01 = hn::Or(hn::And(w.word0, low_half), hn::ShiftLeft<32>(w.word1));
    const auto pair23 = hn::Or(hn::And(w.word2, low_half), hn::ShiftLeft<32>(w.word3));
    hn::StoreInterleaved2(pair01, pair23, kBlocks, reinterpret_cast<uint64_t*>(out + 4 * block));
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
