#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// GPT-2's alphabet: each byte as a printable character, so that any text is a word of 256 letters. Printable bytes of
/// Latin-1 are themselves, the others U+0100 on, in their order.
std::string_view character_of_byte(uint8_t byte);
std::optional<uint8_t> byte_of_character(char32_t c);

/// Appends the characters of a text's bytes.
void append_bytes_as_characters(std::string& out, std::string_view text);

/// `bytes` as UTF-8: what is none becomes U+FFFD, one for each longest beginning of a character, as Rust's and Python's
/// decoders do it.
std::string repaired_utf8(std::string_view bytes);

}  // namespace triptych::text
