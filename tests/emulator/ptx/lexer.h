#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace triptych::emulator::ptx {

struct Token {
  enum class Kind : uint8_t {
    Name,       ///< identifier, register or opcode with its dots: `%tid.x`, `ld.global.f32`, `$L__BB0_1`
    Directive,  ///< `.reg`, `.b32`: one a dot
    Integer,
    Float32,
    Float64,
    String,
    Symbol,
    End
  };
  Kind kind = Kind::End;
  std::string_view text;
  uint64_t bits = 0;  ///< of a number
  int line = 0;
  bool is(char symbol) const { return kind == Kind::Symbol && text[0] == symbol; }
  bool is(std::string_view word) const { return text == word && (kind == Kind::Name || kind == Kind::Directive); }
};

/// Cuts PTX into tokens, one at a time, that view `text`; comments and white space are left out. At the end come tokens
/// of kind End. Throws std::runtime_error naming the line at a character that PTX does not have.
class Lexer {
 public:
  explicit Lexer(std::string_view text, int first_line = 1) : text_(text), line_(first_line) {}

  Token next();
  /// Skips to after the brace that closes one that has just been read, and returns what lies between.
  std::string_view skip_braces();
  /// Goes on behind `token`, which this lexer gave.
  void go_behind(const Token& token);

 private:
  char at(std::size_t offset) const { return at_ + offset < text_.size() ? text_[at_ + offset] : '\0'; }
  bool skip_blanks();
  bool skip_comment();
  Token take(Token::Kind kind, std::size_t length, uint64_t bits = 0);
  Token number();
  uint64_t integer(std::size_t from, std::size_t length, int base) const;

  std::string_view text_;
  std::size_t at_ = 0;
  int line_;
};

}  // namespace triptych::emulator::ptx
