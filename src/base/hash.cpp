#include "base/hash.h"

#include <vector>

#include <fmt/core.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"

namespace triptych::base {

std::string Hash128::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

Hash128 hash128(std::span<const std::byte> bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return {h.high64, h.low64};
}

uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Hash128 hash_file(const std::filesystem::path& path) {
  const File file = File::open_read(path);
  const uint64_t size = file.size();
  std::vector<std::byte> piece(std::size_t{1} << 20);
  Hasher hasher;
  for (uint64_t offset = 0; offset < size; offset += piece.size()) {
    const std::span<std::byte> part = std::span(piece).first(std::min<uint64_t>(piece.size(), size - offset));
    file.pread(part, offset);
    hasher.update(part);
  }
  return hasher.digest();
}

Hasher::Hasher() : state_(XXH3_createState()) {
  TRIPTYCH_CHECK(state_ != nullptr, "no memory for a hash state");
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}

Hasher::~Hasher() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}

void Hasher::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}

Hash128 Hasher::digest() const {
  const XXH128_hash_t h = XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_));
  return {h.high64, h.low64};
}

}  // namespace triptych::base
