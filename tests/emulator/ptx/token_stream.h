#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "emulator/ptx/lexer.h"

namespace triptych::emulator::ptx {

/// A reading position in tokens. Everything that finds another token than it needs throws std::runtime_error.
class TokenStream {
 public:
  explicit TokenStream(std::string_view source, int first_line = 1) : lexer_(source, first_line) {
    for (Token& token : next_) token = lexer_.next();
  }

  const Token& peek(std::size_t ahead = 0) const { return next_[ahead]; }  ///< at most one ahead
  Token take();
  bool accept(char symbol);
  bool accept(std::string_view word);
  void expect(char symbol);
  std::string name();
  int64_t integer();  ///< with an optional sign
  void skip_past(char symbol);
  /// What lies between braces, without looking at it, and its first line.
  struct Braces {
    std::string_view text;
    int line = 0;
  };
  Braces skip_braces();
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  Lexer lexer_;
  std::array<Token, 2> next_;
};

}  // namespace triptych::emulator::ptx
