#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace triptych::emulator::ptx {

/// The types that appear in opcodes and declarations.
enum class Type : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  F16x2,
  BF16,
  BF16x2,
  TF32,
  F32,
  F64
};
/// `None` if `name` (without the dot) is no type.
Type parse_type(std::string_view name);
/// Bytes of one value; a predicate is a bit of a mask and has none.
int bytes_of(Type type);
bool is_signed(Type type);
bool is_float(Type type);

enum class Space : uint8_t { Generic, Global, Shared, Local, Param, Const };

/// A `.param`, `.shared`, `.local`, `.const` or `.global` declaration.
struct Variable {
  std::string name;
  Space space = Space::Global;
  int alignment = 1;
  std::size_t size = 0;
  bool is_dynamic = false;          ///< `.extern .shared name[]`
  std::vector<std::byte> contents;  ///< of an initialised array
};

/// One operand as written. `%r1|%p2` is a register with a second one; `{a, b}` has elements; `[%rd1+8]` is an address
/// whose base is a register, or a symbol if `base` is -1.
struct Term {
  enum class Kind : uint8_t { Register, Integer, Float32, Float64, Symbol, Address, Vector, Sink };
  Kind kind = Kind::Sink;
  bool negated = false;  ///< `!%p1`
  int index = -1;        ///< of the register (also an address's base)
  int second = -1;       ///< the register after `|`; -1 if none
  uint64_t bits = 0;     ///< of an immediate
  int64_t offset = 0;    ///< of an address
  std::string symbol;    ///< a label, a function, or a variable's name
  int variable = -1;     ///< of the function, if the symbol names one
  int label = -1;        ///< the statement that the label stands before, if the symbol names one
  int scope = 0;         ///< in which the symbol was written
  std::vector<Term> elements;
};

struct SourceLine {
  int file = 0, line = 0;
  bool operator==(const SourceLine&) const = default;
};

struct Statement {
  int line = 0;       ///< of the PTX text, from 1
  SourceLine source;  ///< from `.loc`
  int guard = -1;     ///< register of `@%p`
  bool guard_negated = false;
  std::string opcode;  ///< with all of its modifiers
  std::vector<Term> operands;
};

struct Register {
  std::string name;
  Type type = Type::None;
};

struct Function {
  std::string name;
  bool is_entry = false, has_body = false;
  int max_threads = 1024;
  std::string_view body;            ///< between the braces
  int body_line = 0;                ///< of the opening brace
  std::vector<Variable> variables;  ///< parameters first, then those of the body, each scope's own
  std::vector<int> parameters, results;
  std::vector<Register> registers;
  std::vector<Statement> statements;
  std::map<std::string, std::vector<Term>> branch_targets;
};

/// One PTX text, of which the functions' bodies have not been read.
struct Text {
  std::string source;
  int target = 0;
  std::map<int, std::string> files;
  std::vector<Variable> variables;
  std::map<std::string, Function> functions;
};

}  // namespace triptych::emulator::ptx
