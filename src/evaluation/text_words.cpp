#include "evaluation/text_words.h"

#include "base/error.h"
#include "base/text.h"

namespace triptych::evaluation {
namespace {

// Calls visit(code point, place of its first byte, number of its bytes) for each.
template <typename Visit>
void visit_code_points(std::string_view text, Visit visit) {
  TRIPTYCH_CHECK(is_utf8(text), "a text of {} bytes is not UTF-8", text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    char32_t point = length == 1 ? first : first & (0x7Fu >> length);
    for (std::size_t k = 1; k < length; ++k) point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
    visit(point, i, length);
    i += length;
  }
}

}  // namespace

std::u32string to_code_points(std::string_view utf8) {
  std::u32string points;
  visit_code_points(utf8, [&](char32_t point, std::size_t, std::size_t) { points += point; });
  return points;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::vector<std::string_view> split_words(std::string_view utf8) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  const auto end_word = [&](std::size_t end) {
    if (end > begin) words.push_back(utf8.substr(begin, end - begin));
  };
  visit_code_points(utf8, [&](char32_t point, std::size_t place, std::size_t length) {
    if (!is_white_space(point)) return;
    end_word(place);
    begin = place + length;
  });
  end_word(utf8.size());
  return words;
}

}  // namespace triptych::evaluation
