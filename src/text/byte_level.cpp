#include "text/byte_level.h"

#include <array>

#include <unicode/utf8.h>

#include "text/unicode.h"

namespace triptych::text {
namespace {

bool is_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, 324> bytes;  // of characters from U+0000 on; -1: of none

  Alphabet() {
    bytes.fill(-1);
    char32_t other = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t c = is_itself(byte) ? static_cast<char32_t>(byte) : other++;
      append_character(characters[static_cast<std::size_t>(byte)], c);
      bytes[c] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

std::string_view character_of_byte(uint8_t byte) {
  return alphabet().characters[byte];
}

std::optional<uint8_t> byte_of_character(char32_t c) {
  const auto& bytes = alphabet().bytes;
  if (c >= bytes.size() || bytes[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(bytes[c]);
}

void append_bytes_as_characters(std::string& out, std::string_view text) {
  for (const char c : text) out += alphabet().characters[static_cast<uint8_t>(c)];
}

std::string repaired_utf8(std::string_view bytes) {
  std::string result;
  result.reserve(bytes.size());
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  for (std::size_t at = 0; at < bytes.size();) {
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(data, at, bytes.size(), c);
    append_character(result, static_cast<char32_t>(c));
  }
  return result;
}

}  // namespace triptych::text
