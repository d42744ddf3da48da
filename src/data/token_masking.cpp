#include "data/token_masking.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/philox.h"
#include "data/random_subset.h"

namespace triptych::data {

namespace {

// The n-th of the ids that are not among `special`.
int32_t nth_piece(uint64_t n, std::span<const int32_t> special) {
  auto id = static_cast<int32_t>(n);
  for (const int32_t other : special) {
    if (other > id) break;
    ++id;
  }
  return id;
}

}  // namespace

int64_t masked_token_count(int64_t num_pieces, double share) {
  return num_pieces <= 0 ? 0
                         : std::clamp<int64_t>(std::llround(share * static_cast<double>(num_pieces)), 1, num_pieces);
}

void mask_tokens(std::span<int32_t> tokens, int64_t length, const TokenMasking& masking,
                 const MaskVocabulary& vocabulary, uint64_t seed, uint64_t position, std::span<int32_t> positions,
                 std::span<int32_t> targets) {
  TRIPTYCH_CHECK(positions.size() == targets.size(), "places for {} and {} tokens to guess", positions.size(),
                 targets.size());
  const int64_t inner = std::max<int64_t>(length - vocabulary.num_before - vocabulary.num_after, 0);
  const std::size_t count =
      std::min(static_cast<std::size_t>(masked_token_count(inner, masking.share)), positions.size());
  draw_subset(random_key(seed, "mask/positions", position), inner, positions.first(count));
  const auto num_special =
      std::ranges::lower_bound(vocabulary.special, vocabulary.num_pieces) - vocabulary.special.begin();
  const int64_t num_drawn_from = vocabulary.num_pieces - num_special;
  const RandomKey key = random_key(seed, "mask/tokens", position);
  for (std::size_t k = 0; k < count; ++k) {
    const int32_t place = positions[k] += vocabulary.num_before;
    int32_t& token = tokens[static_cast<std::size_t>(place)];
    targets[k] = token;
    const auto words = philox4x32(key, static_cast<uint64_t>(place));
    const double draw = static_cast<double>(words[0]) * 0x1p-32;
    if (draw < masking.mask_share) {
      token = vocabulary.mask_token;
    } else if (draw < masking.mask_share + masking.random_share && num_drawn_from > 0) {
      token = nth_piece(words[1] * static_cast<uint64_t>(num_drawn_from) >> 32, vocabulary.special);
    }
  }
  std::ranges::fill(positions.subspan(count), -1);
  std::ranges::fill(targets.subspan(count), -1);
}

}  // namespace triptych::data
