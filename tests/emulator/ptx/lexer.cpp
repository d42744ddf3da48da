#include "emulator/ptx/lexer.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <stdexcept>

#include <fmt/format.h>

namespace triptych::emulator::ptx {
namespace {

// Of ASCII, whatever the locale says.
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
bool continues_name(char c) {
  return starts_name(c) || is_digit(c);
}

}  // namespace

bool Lexer::skip_comment() {
  if (at(0) != '/') return false;
  if (at(1) == '/') {
    at_ = std::min(text_.find('\n', at_), text_.size());
    return true;
  }
  if (at(1) != '*') return false;
  const std::size_t end = std::min(text_.find("*/", at_ + 2), text_.size() - 2) + 2;
  line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                       text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
  at_ = end;
  return true;
}

bool Lexer::skip_blanks() {
  while (at_ < text_.size()) {
    if (text_[at_] == '\n') {
      ++line_, ++at_;
    } else if (is_blank(text_[at_])) {
      ++at_;
    } else if (!skip_comment()) {
      return true;
    }
  }
  return false;
}

std::string_view Lexer::skip_braces() {
  const std::size_t begin = at_;
  for (int depth = 1; at_ < text_.size();) {
    const char c = text_[at_];
    if (c == '/' && skip_comment()) continue;
    if (c == '"') {
      at_ = std::min(text_.find('"', at_ + 1), text_.size() - 1);
    } else if (c == '\n') {
      ++line_;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return text_.substr(begin, at_++ - begin);
    }
    ++at_;
  }
  throw std::runtime_error(fmt::format("[ptx] line {}: a brace is not closed.", line_));
}

void Lexer::go_behind(const Token& token) {
  at_ = static_cast<std::size_t>(token.text.data() + token.text.size() - text_.data());
  line_ = token.line;
}

Token Lexer::take(Token::Kind kind, std::size_t length, uint64_t bits) {
  Token token{kind, text_.substr(at_, length), bits, line_};
  at_ += length;
  return token;
}

Token Lexer::next() {
  if (!skip_blanks()) return {Token::Kind::End, {}, 0, line_};
  const char c = at(0);
  std::size_t length = 1;
  if (starts_name(c)) {
    while (continues_name(at(length)) || (at(length) == '.' && continues_name(at(length + 1))) ||
           (at(length) == ':' && at(length + 1) == ':')) {
      length += at(length) == ':' ? 2 : 1;
    }
    return take(Token::Kind::Name, length);
  }
  if (c == '.' && starts_name(at(1))) {
    while (continues_name(at(length))) ++length;
    return take(Token::Kind::Directive, length);
  }
  if (is_digit(c)) return number();
  if (c == '"') {
    while (at(length) != '"' && at(length) != '\0') length += at(length) == '\\' ? 2 : 1;
    Token token = take(Token::Kind::String, length + 1);
    token.text = token.text.substr(1, token.text.size() - 2);
    return token;
  }
  if (std::string_view("{}()[]<>,;:@!|=+-*&").find(c) != std::string_view::npos) return take(Token::Kind::Symbol, 1);
  throw std::runtime_error(fmt::format("[ptx] line {}: unexpected character '{}'.", line_, c));
}

Token Lexer::number() {
  std::size_t length = 1;
  const char second = at(1);
  if (at(0) == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
    const bool is_double = second == 'd' || second == 'D';
    length = is_double ? 18 : 10;
    return take(is_double ? Token::Kind::Float64 : Token::Kind::Float32, length, integer(at_ + 2, length - 2, 16));
  }
  const bool is_hex = at(0) == '0' && (second == 'x' || second == 'X');
  if (is_hex) length = 2;
  while (is_hex ? is_hex_digit(at(length)) : is_digit(at(length))) ++length;
  if (!is_hex && at(length) == '.') {
    while (continues_name(at(length)) || at(length) == '.') ++length;
    double value = 0;
    std::from_chars(text_.data() + at_, text_.data() + at_ + length, value);
    return take(Token::Kind::Float64, length, std::bit_cast<uint64_t>(value));
  }
  const uint64_t bits = is_hex ? integer(at_ + 2, length - 2, 16) : integer(at_, length, 10);
  const bool is_unsigned = at(length) == 'U';
  Token token = take(Token::Kind::Integer, length, bits);
  if (is_unsigned) ++at_;
  return token;
}

uint64_t Lexer::integer(std::size_t from, std::size_t length, int base) const {
  uint64_t value = 0;
  const std::string_view digits = text_.substr(from, length);
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (result.ec != std::errc{} || result.ptr != digits.data() + digits.size()) {
    throw std::runtime_error(fmt::format("[ptx] line {}: '{}' is no number.", line_, digits));
  }
  return value;
}

}  // namespace triptych::emulator::ptx
