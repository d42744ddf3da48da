#include "data/token_masking.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/philox.h"
#include "data/random_subset.h"
#include "data/tokenizer.h"

namespace triptych::data {

int64_t max_masked_tokens(int64_t length, double share) {
  const int64_t inner = length - 2;
  return inner <= 0 ? 0 : std::clamp<int64_t>(std::llround(share * static_cast<double>(inner)), 1, inner);
}

void mask_tokens(std::span<int32_t> tokens, int64_t length, const TokenMasking& masking,
                 const MaskVocabulary& vocabulary, uint64_t seed, uint64_t position, std::span<int32_t> positions,
                 std::span<int32_t> targets) {
  constexpr int32_t kFirstPiece = kEndId + 1;
  const auto count = static_cast<std::size_t>(max_masked_tokens(length, masking.share));
  TRIPTYCH_CHECK(count <= positions.size() && positions.size() == targets.size(), "{} tokens to guess in {} and {}",
                 count, positions.size(), targets.size());
  draw_subset(random_key(seed, "mask/positions", position), std::max<int64_t>(length - 2, 0), positions.first(count));
  const RandomKey key = random_key(seed, "mask/tokens", position);
  for (std::size_t k = 0; k < count; ++k) {
    const int32_t place = ++positions[k];  // behind the begin token
    int32_t& token = tokens[static_cast<std::size_t>(place)];
    targets[k] = token;
    const auto words = philox4x32(key, static_cast<uint64_t>(place));
    const double draw = static_cast<double>(words[0]) * 0x1p-32;
    if (draw < masking.mask_share) {
      token = vocabulary.mask_token;
    } else if (draw < masking.mask_share + masking.random_share && vocabulary.num_pieces > kFirstPiece) {
      const auto num_pieces = static_cast<uint64_t>(vocabulary.num_pieces - kFirstPiece);
      token = kFirstPiece + static_cast<int32_t>(words[1] * num_pieces >> 32);
    }
  }
  std::ranges::fill(positions.subspan(count), -1);
  std::ranges::fill(targets.subspan(count), -1);
}

}  // namespace triptych::data
