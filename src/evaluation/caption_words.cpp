#include "evaluation/caption_words.h"

#include <algorithm>

#include "evaluation/text_words.h"

namespace triptych::evaluation {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_stop(char c) {
  return c == '.' || c == ',';
}

bool is_ascii_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

bool always_stands_alone(char c) {
  return is_ascii_punctuation(c) && c != '\'' && c != '-' && !is_stop(c);
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  std::string replaced;
  std::size_t begin = 0;
  for (std::size_t found = text.find(what); found != std::string::npos; found = text.find(what, begin)) {
    replaced.append(text, begin, found - begin).append(by);
    begin = found + what.size();
  }
  if (begin > 0) text = replaced.append(text, begin);
}

// Writes spaces at every pair of neighbours (left, right) for which `applies`, from the left, none of which shares a
// character with another: before the left one, between, and behind the right one, as asked. Pairs are of bytes: what is
// looked for is ASCII, and a byte of a longer character is neither a digit nor a stop, as its character is.
template <typename Applies>
std::string spread(const std::string& text, Applies applies, bool before, bool behind) {
  std::string spread_text;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i + 1 == text.size() || !applies(text[i], text[i + 1])) {
      spread_text += text[i];
      continue;
    }
    if (before) spread_text += ' ';
    spread_text += text[i];
    spread_text += ' ';
    spread_text += text[++i];
    if (behind) spread_text += ' ';
  }
  return spread_text;
}

}  // namespace

std::vector<std::string> words_13a(std::string_view utf8) {
  const std::vector<std::string_view> pieces = split_words(utf8);
  if (pieces.empty()) return {};
  const auto end = static_cast<std::size_t>(pieces.back().data() + pieces.back().size() - utf8.data());
  std::string text(utf8.substr(0, end));
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");

  std::string spaced = " ";
  for (const char c : text) {
    if (always_stands_alone(c)) {
      spaced.append({' ', c, ' '});
    } else {
      spaced += c;
    }
  }
  spaced += ' ';
  spaced = spread(
      spaced, [](char left, char right) { return !is_digit(left) && is_stop(right); }, false, true);
  spaced = spread(
      spaced, [](char left, char right) { return is_stop(left) && !is_digit(right); }, true, false);
  spaced = spread(
      spaced, [](char left, char right) { return is_digit(left) && right == '-'; }, false, true);
  const std::vector<std::string_view> words = split_words(spaced);
  return {words.begin(), words.end()};
}

std::string plain_caption(std::string_view utf8) {
  std::string caption;
  for (std::string& word : words_13a(utf8)) {
    if (std::all_of(word.begin(), word.end(), is_ascii_punctuation)) continue;
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (!caption.empty()) caption += ' ';
    caption += word;
  }
  return caption;
}

}  // namespace triptych::evaluation
