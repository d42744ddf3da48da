#include "text/clip_cleaning.h"

#include <algorithm>
#include <cctype>

#include "text/html_text.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

constexpr int kMaxRounds = 64;  // that a line is cleaned, until that changes nothing

struct Ligature {
  char32_t c;
  std::string_view letters;
};
constexpr Ligature kLigatures[] = {
    {0x132, "IJ"},   {0x133, "ij"},   {0x149, "\u02bcn"},  {0x1c4, "D\u017d"}, {0x1c5, "D\u017e"}, {0x1c6, "d\u017e"},
    {0x1c7, "LJ"},   {0x1c8, "Lj"},   {0x1c9, "lj"},       {0x1ca, "NJ"},      {0x1cb, "Nj"},      {0x1cc, "nj"},
    {0x1f1, "DZ"},   {0x1f2, "Dz"},   {0x1f3, "dz"},       {0xfb00, "ff"},     {0xfb01, "fi"},     {0xfb02, "fl"},
    {0xfb03, "ffi"}, {0xfb04, "ffl"}, {0xfb05, "\u017ft"}, {0xfb06, "st"}};

bool is_ascii_letter_or_digit(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 && static_cast<unsigned char>(c) < 0x80;
}

// Names that are all capitals, of what has a name in small letters alone: "&EACUTE;".
std::string capital_character(std::string_view name) {
  std::string small(name);
  for (char& c : small) {
    if (c >= 'a' && c <= 'z') return "";
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  const auto character = html_character(small);
  const std::string whole = "&" + std::string(name);
  return character && unescape_html(whole) == whole ? uppercase_text(*character) : "";
}

// Only what ends with a semicolon, since "this&not that" may be meant as it stands.
std::string unescape_certain(std::string_view text) {
  constexpr std::size_t kMaxName = 24;
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] == '&') {
      if (end < text.size() && text[end] == '#') ++end;
      const std::size_t first = end;
      while (end < text.size() && end - first < kMaxName && is_ascii_letter_or_digit(text[end])) ++end;
      if (end > first && end < text.size() && text[end] == ';') {
        const std::string_view whole = text.substr(at, end + 1 - at), name = whole.substr(1);
        std::string character;
        if (const auto known = html_character(name)) {
          character = *known;
        } else if (name.starts_with('#')) {
          character = unescape_html(whole);
          if (character.find(';') != std::string::npos) character = whole;
        } else {
          character = capital_character(name);
          if (character.empty()) character = whole;
        }
        result += character;
        at = end + 1;
        continue;
      }
    }
    result += text[at++];
  }
  return result;
}

// A character in its usual width, without its ligature or curl.
void append_plain(std::string& out, char32_t c) {
  if (c >= 0x80 && c <= 0x9f) c = windows_1252(c);
  if (c == 0x3000) c = ' ';
  if (c == 0x85 || c == 0x2028 || c == 0x2029) c = '\n';
  if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) c = '\'';
  if (c >= 0x201c && c <= 0x201f) c = '"';
  if (c >= 0xff01 && c < 0xfff0) {
    std::string wide;
    append_character(wide, c);
    out += whole_normal_form(wide, NormalForm::kNfkc);
    return;
  }
  const auto* ligature = std::ranges::find(kLigatures, c, &Ligature::c);
  if (ligature == std::end(kLigatures)) {
    append_character(out, c);
    return;
  }
  for (std::size_t at = 0; at < ligature->letters.size();) append_plain(out, next_character(ligature->letters, at));
}

std::string without_controls(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(text, at);
    const bool goes = c <= 0x8 || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) ||
                      c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
    if (!goes) result.append(text, begin, at - begin);
  }
  return result;
}

// "\033[1;31m" and the like.
std::string without_terminal_escapes(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with("\033[")) {
      std::size_t end = at + 2;
      while (end < text.size() && (text[end] == ';' || (text[end] >= '0' && text[end] <= '9'))) ++end;
      if (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end])) != 0 &&
          static_cast<unsigned char>(text[end]) < 0x80) {
        at = end + 1;
        continue;
      }
    }
    result += text[at++];
  }
  return result;
}

std::string clean_once(std::string_view line, bool unescapes) {
  const std::string text = unescapes ? unescape_certain(line) : std::string(line);
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c == '\r') {
      if (at < text.size() && text[at] == '\n') ++at;
      plain += '\n';
    } else {
      append_plain(plain, c);
    }
  }
  return whole_normal_form(without_controls(without_terminal_escapes(plain)), NormalForm::kNfc);
}

std::string clean_line(std::string line, bool unescapes) {
  for (int round = 0; round < kMaxRounds; ++round) {
    std::string next = clean_once(line, unescapes);
    if (next == line) break;
    line = std::move(next);
  }
  return line;
}

// White space as Python's str.split has it.
bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1c && c <= 0x1f);
}

std::string single_spaced(std::string_view text) {
  std::string result;
  bool needs_space = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (is_python_space(next_character(text, at))) {
      needs_space = !result.empty();
      continue;
    }
    if (needs_space) result += ' ';
    needs_space = false;
    result.append(text, begin, at - begin);
  }
  return result;
}

}  // namespace

std::string clip_cleaned(std::string_view text) {
  std::string cleaned;
  bool unescapes = true;  // until a line looks like HTML, whose escapes are then meant
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const std::string_view line = text.substr(begin, end - begin);
    unescapes = unescapes && line.find('<') == std::string_view::npos;
    cleaned += clean_line(std::string(line), unescapes);
    begin = end;
  }
  return lowercase_text(single_spaced(unescape_html(unescape_html(cleaned))));
}

}  // namespace triptych::text
