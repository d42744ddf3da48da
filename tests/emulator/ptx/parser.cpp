#include "emulator/ptx/parser.h"

#include <utility>

#include "emulator/ptx/function_parser.h"
#include "emulator/ptx/token_stream.h"

namespace triptych::emulator::ptx {
namespace {

class TextParser {
 public:
  explicit TextParser(Text& text) : text_(text), tokens_(text.source) {}

  void run() {
    while (tokens_.peek().kind != Token::Kind::End) parse_top_level();
  }

 private:
  void parse_top_level() {
    if (tokens_.accept(".version")) {
      tokens_.take();
    } else if (tokens_.accept(".target")) {
      parse_target();
    } else if (tokens_.accept(".address_size")) {
      if (tokens_.integer() != 64) tokens_.fail("only 64-bit addresses are supported");
    } else if (tokens_.accept(".file")) {
      const int index = static_cast<int>(tokens_.integer());
      text_.files[index] = std::string(tokens_.take().text);
      while (tokens_.accept(',')) tokens_.integer();  // time stamp, size
    } else if (tokens_.accept(".section")) {
      tokens_.take();
      tokens_.skip_braces();
    } else if (tokens_.accept(".pragma")) {
      tokens_.skip_past(';');
    } else {
      parse_declaration();
    }
  }

  void parse_target() {
    const std::string name(tokens_.take().text);
    const std::size_t digits = name.find_first_of("0123456789");
    if (name.rfind("sm_", 0) != 0 || digits == std::string::npos) tokens_.fail("unknown target " + name);
    text_.target = std::stoi(name.substr(digits));
    while (tokens_.accept(',')) tokens_.take();
  }

  void parse_declaration() {
    bool is_extern = false;
    while (true) {
      if (tokens_.accept(".extern")) {
        is_extern = true;
      } else if (!tokens_.accept(".visible") && !tokens_.accept(".weak") && !tokens_.accept(".common")) {
        break;
      }
    }
    const bool is_entry = tokens_.accept(".entry");
    if (is_entry || tokens_.accept(".func")) {
      Function function = parse_function_head(tokens_, is_entry);
      auto [place, is_new] = text_.functions.try_emplace(function.name, function);
      if (!is_new && function.has_body) place->second = std::move(function);  // declared before
      return;
    }
    Variable variable = parse_variable(tokens_);
    variable.is_dynamic = is_extern && variable.space == Space::Shared;
    tokens_.expect(';');
    text_.variables.push_back(std::move(variable));
  }

  Text& text_;
  TokenStream tokens_;
};

}  // namespace

std::shared_ptr<const Text> parse(std::string source) {
  auto text = std::make_shared<Text>();
  text->source = std::move(source);  // stays where it is: functions view their bodies in it
  TextParser(*text).run();
  return text;
}

}  // namespace triptych::emulator::ptx
