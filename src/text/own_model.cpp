#include "text/own_model.h"

#include <span>

#include "base/file.h"
#include "base/hash.h"
#include "text/tokenizer.h"

namespace triptych::text {
namespace {

constexpr std::string_view kSealTag = "\xc2\x3e\x10";
constexpr std::size_t kSealBytes = kSealTag.size() + 16;

}  // namespace

std::string seal_of(std::string_view model) {
  const Hash128 hash = hash128(std::as_bytes(std::span(model)));
  std::string seal(kSealTag);
  for (const uint64_t word : {hash.high, hash.low}) {
    for (int shift = 56; shift >= 0; shift -= 8) seal += static_cast<char>(word >> shift);
  }
  return seal;
}

Seal find_seal(std::string_view bytes) {
  if (bytes.size() < kSealBytes) return Seal::kNone;
  const std::size_t size = bytes.size() - kSealBytes;
  if (bytes.substr(size, kSealTag.size()) != kSealTag) return Seal::kNone;
  return bytes.substr(size) == seal_of(bytes.substr(0, size)) ? Seal::kSound : Seal::kBroken;
}

bool is_own_tokenizer(const std::filesystem::path& path) {
  return find_seal(read_text_file(path, kMaxTokenizerBytes)) == Seal::kSound;
}

}  // namespace triptych::text
