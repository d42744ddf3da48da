#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::text {

/// The character at `at` of well-formed UTF-8, with `at` moved behind it.
char32_t next_character(std::string_view text, std::size_t& at);
void append_character(std::string& text, char32_t c);

/// Classes of characters, by ICU. What the `tokenizers` package has from tables that are older than Unicode 10 is as in
/// these: later characters are unassigned.
bool is_white_space(char32_t c);      ///< White_Space
bool is_word(char32_t c);             ///< \w of UTS 18, annex C
bool is_number(char32_t c);           ///< Nd, Nl, No
bool is_mark(char32_t c);             ///< Mn, Mc, Me of Unicode 9
bool is_nonspacing_mark(char32_t c);  ///< Mn of Unicode 8
bool is_punctuation(char32_t c);      ///< P* of Unicode 8, and ASCII's symbols
bool is_other(char32_t c);            ///< Cc, Cf, Co of Unicode 8
bool is_cjk_ideograph(char32_t c);    ///< those that BERT puts spaces around

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// Of Unicode 9, as that package has it: later characters stay as they are.
std::string normal_form(std::string_view text, NormalForm form);
/// Of the Unicode that ICU has.
std::string whole_normal_form(std::string_view text, NormalForm form);
/// Each character by itself, as Rust's char::to_lowercase does it.
std::string lowercase_characters(std::string_view text);
/// The text, where a sigma at the end of a word is a final one: as Python's str.lower does it.
std::string lowercase_text(std::string_view text);

std::string uppercase_text(std::string_view text);

/// The ends of the extended grapheme clusters, ascending.
std::vector<std::size_t> grapheme_ends(std::string_view text);

}  // namespace triptych::text
