#include "text/chars_map.h"

#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace triptych::text {
namespace {

// A unit of a darts-clone array, 32 bits: of a node the label (its low byte), whether a value hangs on it, and how far
// its children are; of a value, whose top bit is set, the value.
constexpr uint32_t kValueBit = 1u << 31;
bool has_value(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
uint32_t label_of(uint32_t unit) {
  return unit & (kValueBit | 0xff);
}
uint32_t offset_of(uint32_t unit) {
  return unit >> 10 << ((unit & 1u << 9) >> 6);
}

}  // namespace

CharsMap::CharsMap(std::string_view bytes, std::string_view where) {
  if (bytes.empty()) return;
  const auto refuse = [&](std::string_view found) {
    throw UserError(where, fmt::format("a precompiled charsmap must be a trie and its texts, found {}. Get the file "
                                       "again.",
                                       found));
  };
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof trie_bytes) refuse("too few bytes");
  std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  bytes.remove_prefix(sizeof trie_bytes);
  if (trie_bytes > bytes.size() || trie_bytes == 0 || trie_bytes % (256 * sizeof(uint32_t)) != 0) {
    refuse(fmt::format("a trie of {} bytes in {}", trie_bytes, bytes.size()));
  }
  units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), trie_bytes);
  replacements_ = bytes.substr(trie_bytes);
  if (replacements_.empty() || replacements_.back() != '\0' || !is_utf8(replacements_)) {
    refuse("replacements that are no texts");
  }
  // A walk begins at the root whatever it is; from there on it goes by labels, which a value has none of.
  if ((units_[0] & kValueBit) != 0) refuse("a value in place of the trie's root");
  // The array is whole blocks of 256, so where the first child of a node is inside, all of them are.
  for (std::size_t i = 0; i < units_.size(); ++i) {
    const uint32_t unit = units_[i];
    if ((unit & kValueBit) != 0) continue;
    const std::size_t child = i ^ offset_of(unit);
    if (child >= units_.size()) refuse(fmt::format("a node whose children are at {} of {}", child, units_.size()));
    if (!has_value(unit)) continue;
    const uint32_t value = units_[child] & ~kValueBit;
    const bool starts = value < replacements_.size() && (static_cast<uint8_t>(replacements_[value]) & 0xc0) != 0x80;
    if (!starts) refuse(fmt::format("a text at {} of {}", value, replacements_.size()));
  }
}

std::optional<std::string_view> CharsMap::replacement(std::string_view text) const {
  if (units_.empty()) return std::nullopt;
  std::size_t node = offset_of(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) break;
    node ^= byte;
    const uint32_t unit = units_[node];
    if (label_of(unit) != byte) break;
    node ^= offset_of(unit);
    if (has_value(unit)) return std::string_view(replacements_.c_str() + (units_[node] & ~kValueBit));
  }
  return std::nullopt;
}

}  // namespace triptych::text
