#include "emulator/ptx/function_parser.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

namespace triptych::emulator::ptx {
namespace {

class FunctionParser {
 public:
  FunctionParser(TokenStream& tokens, Function function) : tokens_(tokens), function_(std::move(function)) {
    for (std::size_t i = 0; i < function_.variables.size(); ++i) {
      scopes_.back().variables[function_.variables[i].name] = static_cast<int>(i);
    }
  }

  Function run_head() {
    if (tokens_.peek().is('(')) function_.results = parse_parameters();
    function_.name = tokens_.name();
    if (tokens_.peek().is('(')) function_.parameters = parse_parameters();
    parse_directives();
    if (tokens_.accept(';')) return std::move(function_);
    function_.has_body = true;
    const TokenStream::Braces braces = tokens_.skip_braces();
    function_.body = braces.text;
    function_.body_line = braces.line;
    return std::move(function_);
  }

  Function run_body() {
    while (tokens_.peek().kind != Token::Kind::End) parse_item();
    resolve_labels();
    return std::move(function_);
  }

 private:
  // Names of one pair of braces. Scopes are numbered as they open; the parents are kept for labels, which may be used
  // before they are known.
  struct Scope {
    int id = 0;
    std::map<std::string, int, std::less<>> registers, variables;
  };

  std::vector<int> parse_parameters() {
    std::vector<int> indices;
    tokens_.expect('(');
    while (!tokens_.accept(')')) {
      indices.push_back(add_variable(parse_variable(tokens_)));
      tokens_.accept(',');
    }
    return indices;
  }

  void parse_directives() {
    while (tokens_.peek().kind == Token::Kind::Directive) {
      const std::string_view word = tokens_.take().text;
      if (word == ".maxntid" || word == ".reqntid") {
        int threads = static_cast<int>(tokens_.integer());
        while (tokens_.accept(',')) threads *= static_cast<int>(tokens_.integer());
        function_.max_threads = threads;
      } else if (word == ".minnctapersm" || word == ".maxnreg" || word == ".maxnctapersm") {
        tokens_.integer();
      } else if (word == ".pragma") {
        tokens_.skip_past(';');
      } else if (word != ".noreturn") {
        tokens_.fail("unsupported directive " + std::string(word));
      }
    }
  }

  int add_variable(Variable variable) {
    function_.variables.push_back(std::move(variable));
    const int index = static_cast<int>(function_.variables.size()) - 1;
    scopes_.back().variables[function_.variables.back().name] = index;
    return index;
  }

  int add_register(const std::string& name, Type type) {
    function_.registers.push_back({name, type});
    return static_cast<int>(function_.registers.size()) - 1;
  }

  void open_scope() {
    parents_.push_back(scopes_.back().id);
    scopes_.push_back({static_cast<int>(parents_.size()) - 1, {}, {}});
  }

  void parse_item() {
    const Token token = tokens_.peek();
    if (tokens_.accept('{')) return open_scope();
    if (tokens_.peek().is('}') && scopes_.size() == 1) tokens_.fail("a brace closes nothing");
    if (tokens_.accept('}')) return scopes_.pop_back();
    if (tokens_.accept(';')) return;
    if (token.kind == Token::Kind::Directive) return parse_body_directive();
    if (token.kind == Token::Kind::Name && tokens_.peek(1).is(':')) return parse_label();
    parse_statement();
  }

  void parse_body_directive() {
    if (tokens_.accept(".reg")) return parse_registers();
    if (tokens_.accept(".loc")) return parse_location();
    if (tokens_.accept(".pragma")) return tokens_.skip_past(';');
    add_variable(parse_variable(tokens_));
    while (tokens_.accept(',')) {  // `.param .b32 a, b;`
      Variable variable = function_.variables.back();
      variable.name = tokens_.name();
      add_variable(std::move(variable));
    }
    tokens_.expect(';');
  }

  void parse_registers() {
    const Type type = parse_type(tokens_.take().text.substr(1));
    if (type == Type::None) tokens_.fail("unknown register type");
    do {
      const std::string name = tokens_.name();
      if (!tokens_.accept('<')) {
        scopes_.back().registers[name] = add_register(name, type);
        continue;
      }
      const int64_t count = tokens_.integer();
      tokens_.expect('>');
      for (int64_t i = 0; i < count; ++i) {
        const std::string numbered = name + std::to_string(i);
        scopes_.back().registers[numbered] = add_register(numbered, type);
      }
    } while (tokens_.accept(','));
    tokens_.expect(';');
  }

  // `.loc file line column [, function_name label [+ offset], inlined_at file line column]`
  void parse_location() {
    source_.file = static_cast<int>(tokens_.integer());
    source_.line = static_cast<int>(tokens_.integer());
    tokens_.integer();
    while (tokens_.accept(',')) {
      if (tokens_.accept("function_name")) {
        tokens_.name();
        if (tokens_.accept('+')) tokens_.integer();
      } else if (tokens_.accept("inlined_at")) {
        for (int i = 0; i < 3; ++i) tokens_.integer();
      } else {
        tokens_.fail("unknown part of .loc");
      }
    }
  }

  void parse_label() {
    const std::string name = tokens_.name();
    tokens_.expect(':');
    if (tokens_.accept(".branchtargets")) {
      auto& targets = function_.branch_targets[name];
      do targets.push_back(parse_operand());
      while (tokens_.accept(','));
      tokens_.expect(';');
    } else if (tokens_.peek().is(".callprototype")) {
      tokens_.skip_past(';');  // of an indirect call, which is refused when it is decoded
    } else {
      labels_[{scopes_.back().id, name}] = static_cast<int>(function_.statements.size());
    }
  }

  void parse_statement() {
    Statement statement;
    statement.line = tokens_.peek().line;
    statement.source = source_;
    if (tokens_.accept('@')) {
      statement.guard_negated = tokens_.accept('!');
      statement.guard = find_register(tokens_.name());
    }
    statement.opcode = tokens_.name();
    while (!tokens_.accept(';')) {
      statement.operands.push_back(parse_operand());
      tokens_.accept(',');
    }
    function_.statements.push_back(std::move(statement));
  }

  Term parse_operand() {
    Term term;
    if (tokens_.accept('{')) return parse_list('}');
    if (tokens_.accept('(')) return parse_list(')');
    if (tokens_.accept('[')) return parse_address();
    term.negated = tokens_.accept('!');
    const bool minus = tokens_.accept('-');
    const Token token = tokens_.take();
    switch (token.kind) {
      case Token::Kind::Integer:
        term.kind = Term::Kind::Integer;
        term.bits = minus ? ~token.bits + 1 : token.bits;
        return term;
      case Token::Kind::Float32:
      case Token::Kind::Float64: {
        const bool is_double = token.kind == Token::Kind::Float64;
        term.kind = is_double ? Term::Kind::Float64 : Term::Kind::Float32;
        term.bits = token.bits ^ (minus ? uint64_t{1} << (is_double ? 63 : 31) : 0);
        return term;
      }
      case Token::Kind::Name:
        return named_operand(term, std::string(token.text));
      default:
        tokens_.fail("expected an operand");
    }
  }

  Term named_operand(Term term, const std::string& name) {
    if (name == "_") return term;
    term.index = find_register(name, false);
    if (term.index < 0) {
      term.kind = Term::Kind::Symbol;
      term.symbol = name;
      term.variable = find_variable(name);
      term.scope = scopes_.back().id;
      if (tokens_.accept('+')) term.offset = tokens_.integer();
      return term;
    }
    term.kind = Term::Kind::Register;
    if (tokens_.accept('|')) term.second = tokens_.accept("_") ? -1 : find_register(tokens_.name());
    return term;
  }

  Term parse_list(char end) {
    Term term;
    term.kind = Term::Kind::Vector;
    while (!tokens_.accept(end)) {
      term.elements.push_back(parse_operand());
      tokens_.accept(',');
    }
    return term;
  }

  Term parse_address() {
    Term term;
    term.kind = Term::Kind::Address;
    if (tokens_.peek().kind == Token::Kind::Integer) {
      term.offset = tokens_.integer();
    } else {
      const std::string name = tokens_.name();
      term.index = find_register(name, false);
      if (term.index < 0) {
        term.symbol = name;
        term.variable = find_variable(name);
      }
      if (tokens_.accept('+')) {
        term.offset = tokens_.integer();
      } else if (tokens_.peek().is('-')) {
        term.offset = tokens_.integer();
      }
    }
    tokens_.expect(']');
    return term;
  }

  int find_register(const std::string& name, bool must_exist = true) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (auto found = scope->registers.find(name); found != scope->registers.end()) return found->second;
    }
    if (const Type type = special_register_type(name); type != Type::None) {
      return scopes_.front().registers[name] = add_register(name, type);
    }
    if (must_exist) tokens_.fail("register " + name + " is not declared");
    return -1;
  }

  static Type special_register_type(const std::string& name) {
    if (name == "%clock64" || name == "%globaltimer" || name == "%gridid") return Type::U64;
    static constexpr std::string_view kNarrow[] = {
        "%tid.x",          "%tid.y",       "%tid.z",       "%ntid.x",      "%ntid.y",
        "%ntid.z",         "%ctaid.x",     "%ctaid.y",     "%ctaid.z",     "%nctaid.x",
        "%nctaid.y",       "%nctaid.z",    "%laneid",      "%warpid",      "%nwarpid",
        "%smid",           "%nsmid",       "%clock",       "%lanemask_eq", "%lanemask_lt",
        "%lanemask_le",    "%lanemask_gt", "%lanemask_ge", "WARP_SZ",      "%dynamic_smem_size",
        "%total_smem_size"};
    return std::find(std::begin(kNarrow), std::end(kNarrow), name) != std::end(kNarrow) ? Type::U32 : Type::None;
  }

  int find_variable(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (auto found = scope->variables.find(name); found != scope->variables.end()) return found->second;
    }
    return -1;
  }

  void resolve_labels() {
    for (Statement& statement : function_.statements) {
      for (Term& term : statement.operands) resolve_label(term);
    }
    for (auto& [name, targets] : function_.branch_targets) {
      for (Term& term : targets) resolve_label(term);
    }
  }

  void resolve_label(Term& term) const {
    if (term.kind != Term::Kind::Symbol) return;
    for (int scope = term.scope; scope >= 0; scope = parents_[static_cast<std::size_t>(scope)]) {
      if (auto found = labels_.find({scope, term.symbol}); found != labels_.end()) term.label = found->second;
      if (term.label >= 0) return;
    }
  }

  TokenStream& tokens_;
  Function function_;
  SourceLine source_;
  std::vector<Scope> scopes_{1};
  std::vector<int> parents_{-1};
  std::map<std::pair<int, std::string>, int> labels_;
};

}  // namespace

Function parse_function_head(TokenStream& tokens, bool is_entry) {
  Function function;
  function.is_entry = is_entry;
  return FunctionParser(tokens, std::move(function)).run_head();
}

Function parse_body(const Function& head) {
  TokenStream tokens(head.body, head.body_line);
  return FunctionParser(tokens, head).run_body();
}

}  // namespace triptych::emulator::ptx
