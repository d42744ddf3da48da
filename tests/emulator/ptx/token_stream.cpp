#include "emulator/ptx/token_stream.h"

#include <stdexcept>

#include <fmt/format.h>

namespace triptych::emulator::ptx {

Token TokenStream::take() {
  const Token token = next_[0];
  next_[0] = next_[1];
  next_[1] = lexer_.next();
  return token;
}

TokenStream::Braces TokenStream::skip_braces() {
  if (!peek().is('{')) fail("expected '{'");
  const int line = peek().line;
  lexer_.go_behind(peek());
  const std::string_view text = lexer_.skip_braces();
  for (Token& token : next_) token = lexer_.next();
  return {text, line};
}

bool TokenStream::accept(char symbol) {
  if (!peek().is(symbol)) return false;
  take();
  return true;
}

bool TokenStream::accept(std::string_view word) {
  if (!peek().is(word)) return false;
  take();
  return true;
}

void TokenStream::expect(char symbol) {
  if (!accept(symbol)) fail(fmt::format("expected '{}'", symbol));
}

std::string TokenStream::name() {
  if (peek().kind != Token::Kind::Name) fail("expected a name");
  return std::string(take().text);
}

int64_t TokenStream::integer() {
  const bool negative = accept('-');
  if (peek().kind != Token::Kind::Integer) fail("expected an integer");
  const auto value = static_cast<int64_t>(take().bits);
  return negative ? -value : value;
}

void TokenStream::skip_past(char symbol) {
  while (!accept(symbol)) {
    if (peek().kind == Token::Kind::End) fail(fmt::format("expected '{}'", symbol));
    take();
  }
}

void TokenStream::fail(const std::string& problem) const {
  throw std::runtime_error(fmt::format("[ptx] line {}: {}, found '{}'.", peek().line, problem, peek().text));
}

}  // namespace triptych::emulator::ptx
