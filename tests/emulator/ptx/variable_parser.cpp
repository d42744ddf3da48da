#include <algorithm>
#include <cstring>

#include "emulator/ptx/function_parser.h"

namespace triptych::emulator::ptx {
namespace {

Space parse_space(TokenStream& tokens) {
  if (tokens.accept(".param")) return Space::Param;
  if (tokens.accept(".shared")) return Space::Shared;
  if (tokens.accept(".local")) return Space::Local;
  if (tokens.accept(".const")) return Space::Const;
  if (tokens.accept(".global")) return Space::Global;
  tokens.fail("expected a declaration");
}

void append_value(TokenStream& tokens, std::size_t element_bytes, std::vector<std::byte>& contents) {
  const bool negative = tokens.accept('-');
  const Token token = tokens.take();
  if (token.kind != Token::Kind::Integer && token.kind != Token::Kind::Float32 && token.kind != Token::Kind::Float64) {
    tokens.fail("an initial value must be a number");
  }
  const uint64_t bits = negative ? ~token.bits + 1 : token.bits;
  const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
  contents.insert(contents.end(), bytes, bytes + element_bytes);
}

void parse_contents(TokenStream& tokens, std::size_t element_bytes, std::vector<std::byte>& contents) {
  if (!tokens.accept('{')) return append_value(tokens, element_bytes, contents);
  if (tokens.accept('}')) return;
  do {
    parse_contents(tokens, element_bytes, contents);
  } while (tokens.accept(','));
  tokens.expect('}');
}

}  // namespace

Variable parse_variable(TokenStream& tokens) {
  Variable variable;
  variable.space = parse_space(tokens);
  Type type = Type::None;
  while (tokens.peek().kind == Token::Kind::Directive) {
    const std::string_view word = tokens.take().text;
    if (word == ".align") {
      variable.alignment = static_cast<int>(tokens.integer());
    } else if (word == ".ptr") {  // a promise about what a pointer parameter points to
      while (tokens.peek().kind == Token::Kind::Directive) {
        if (tokens.take().text == ".align") tokens.integer();
      }
    } else {
      type = parse_type(word.substr(1));
      if (type == Type::None) tokens.fail("unknown attribute " + std::string(word));
    }
  }
  variable.name = tokens.name();
  const auto element_bytes = static_cast<std::size_t>(bytes_of(type));
  variable.alignment = std::max<int>(variable.alignment, static_cast<int>(element_bytes));
  variable.size = element_bytes;
  while (tokens.accept('[')) {
    variable.size *= tokens.peek().is(']') ? 0 : static_cast<std::size_t>(tokens.integer());
    tokens.expect(']');
  }
  if (tokens.accept('=')) {
    parse_contents(tokens, element_bytes, variable.contents);
    variable.size = std::max(variable.size, variable.contents.size());
  }
  if (variable.space == Space::Global || variable.space == Space::Const) variable.contents.resize(variable.size);
  return variable;
}

// A declaration's `.shared` follows white space, that of an opcode a letter.
std::vector<Variable> shared_variables(const Function& head) {
  std::vector<Variable> variables;
  constexpr std::string_view kWord = ".shared";
  for (std::size_t at = 0; (at = head.body.find(kWord, at)) != std::string_view::npos; at += kWord.size()) {
    const char before = at == 0 ? '\n' : head.body[at - 1];
    if (before != ' ' && before != '\t' && before != '\n') continue;
    TokenStream tokens(head.body.substr(at));
    variables.push_back(parse_variable(tokens));
  }
  return variables;
}

}  // namespace triptych::emulator::ptx
