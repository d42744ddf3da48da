#include "text/html_text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "text/unicode.h"

namespace triptych::text {
namespace {

struct Entity {
  std::string_view name, text;
};
constexpr Entity kEntities[] = {
#include "text/html_entities.inc"
};

constexpr char32_t kWindows1252[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                       0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                       0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                       0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

bool is_digit(char c, int base) {
  const bool is_decimal = c >= '0' && c <= '9';
  return is_decimal || (base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')));
}

// What may not be written by its number, and is left out.
bool is_invalid(uint32_t c) {
  return (c >= 0x1 && c <= 0x8) || c == 0xb || (c >= 0xe && c <= 0x1f) || (c >= 0x7f && c <= 0x9f) ||
         (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

// The end of "&#...;" from its digits on, with the semicolon; begin if there are none.
std::size_t end_of_number(std::string_view text, std::size_t begin, int base) {
  std::size_t end = begin;
  while (end < text.size() && is_digit(text[end], base)) ++end;
  if (end > begin && end < text.size() && text[end] == ';') ++end;
  return end;
}

// The end of a name that begins at `begin`: up to 32 characters, and a semicolon.
std::size_t end_of_name(std::string_view text, std::size_t begin) {
  constexpr std::string_view kEnds = "\t\n\f <&#;";
  std::size_t end = begin;
  for (int count = 0; count < 32 && end < text.size() && kEnds.find(text[end]) == std::string_view::npos; ++count) {
    next_character(text, end);
  }
  if (end > begin && end < text.size() && text[end] == ';') ++end;
  return end;
}

}  // namespace

std::optional<std::string_view> html_character(std::string_view name) {
  const auto* found = std::ranges::lower_bound(kEntities, name, {}, &Entity::name);
  if (found == std::end(kEntities) || found->name != name) return std::nullopt;
  return found->text;
}

char32_t windows_1252(char32_t c1) {
  return kWindows1252[c1 - 0x80];
}

std::string numbered_character(std::string_view digits, int base) {
  uint64_t number = 0;
  for (const char c : digits) {
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    number = std::min<uint64_t>(number * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit), 0x110000);
  }
  auto c = static_cast<char32_t>(number);
  if (c >= 0x80 && c <= 0x9f) {
    c = windows_1252(c);
  } else if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
    c = 0xfffd;
  } else if (is_invalid(c)) {
    return "";
  }
  std::string result;
  append_character(result, c);
  return result;
}

std::string unescape_html(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '&') {
      result += text[at++];
      continue;
    }
    const std::size_t begin = at + 1;
    if (begin < text.size() && text[begin] == '#') {
      const bool is_hex = begin + 1 < text.size() && (text[begin + 1] | 0x20) == 'x';
      const int base = is_hex ? 16 : 10;
      const std::size_t first = begin + (is_hex ? 2 : 1), end = end_of_number(text, first, base);
      if (end > first) {
        std::string_view digits = text.substr(first, end - first);
        if (digits.ends_with(';')) digits.remove_suffix(1);
        result += numbered_character(digits, base);
        at = end;
        continue;
      }
      result += text[at++];
      continue;
    }
    const std::size_t end = end_of_name(text, begin);
    const std::string_view name = text.substr(begin, end - begin);
    std::size_t length = name.size();  // of the longest known name that this begins with; two letters at least
    std::optional<std::string_view> found = html_character(name);
    while (!found && length > 2) found = html_character(name.substr(0, --length));
    result += found ? *found : "&";
    at = found ? begin + length : begin;
  }
  return result;
}

}  // namespace triptych::text
