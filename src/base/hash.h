#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/rooms.h"

namespace triptych::base {

/// 128-bit XXH3: finds accidental damage, is no defence against somebody who forges files.
struct Hash128 {
  uint64_t high = 0, low = 0;
  bool operator==(const Hash128&) const = default;
  /// 32 lower-case hexadecimal digits, high word first (the canonical form of `xxhsum -H2`).
  std::string hex() const;
};

Hash128 hash128(std::span<const std::byte> bytes);

/// 64-bit XXH3, for one sample.
uint64_t hash64(std::span<const std::byte> bytes);

/// Of a whole file, read in pieces of 1 MiB. Throws WorldError if it cannot be read.
Hash128 hash_file(const std::filesystem::path& path);

/// Incremental form.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(std::span<const std::byte> bytes);
  Hash128 digest() const;

 private:
  void* state_;
};

}  // namespace triptych::base
