#include "emulator/ptx/builder.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "emulator/ptx/decoder.h"
#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

std::vector<std::string_view> split(std::string_view opcode) {
  std::vector<std::string_view> parts;
  while (!opcode.empty()) {
    const std::size_t dot = std::min(opcode.find('.'), opcode.size());
    parts.push_back(opcode.substr(0, dot));
    opcode.remove_prefix(std::min(dot + 1, opcode.size()));
  }
  return parts;
}

uint64_t convert_immediate(const Term& term, Type type) {
  if (term.kind == Term::Kind::Integer) return term.bits;
  const bool wants_double = type == Type::F64 || type == Type::B64;
  if (term.kind == Term::Kind::Float64 && !wants_double) {
    return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(term.bits)));
  }
  if (term.kind == Term::Kind::Float32 && wants_double) {
    return std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(term.bits))));
  }
  return term.bits;
}

}  // namespace

Builder::Builder(Decoder& decoder, const Function& function, const Statement& statement)
    : decoder_(decoder), function_(function), statement_(statement), modifiers_(split(statement.opcode)) {
  modifiers_.erase(modifiers_.begin());  // the opcode itself
  if (statement.guard >= 0) {
    op.is_guarded = true;
    op.guard = operand_of_register(statement.guard);
    op.guard_negated = statement.guard_negated;
  }
}

bool Builder::take(std::string_view modifier) {
  auto found = std::find(modifiers_.begin(), modifiers_.end(), modifier);
  if (found == modifiers_.end()) return false;
  modifiers_.erase(found);
  return true;
}

std::string_view Builder::take_any(std::initializer_list<std::string_view> modifiers) {
  for (std::string_view modifier : modifiers) {
    if (take(modifier)) return modifier;
  }
  return "";
}

Type Builder::peek_type() const {
  for (std::string_view modifier : modifiers_) {
    if (const Type type = parse_type(modifier); type != Type::None) return type;
  }
  return Type::None;
}

Type Builder::take_type() {
  for (auto modifier = modifiers_.begin(); modifier != modifiers_.end(); ++modifier) {
    if (const Type type = parse_type(*modifier); type != Type::None) {
      modifiers_.erase(modifier);
      return type;
    }
  }
  unknown("it names no type");
}

const Term& Builder::term(std::size_t i) const {
  if (i >= statement_.operands.size()) unknown(fmt::format("it has only {} operands", statement_.operands.size()));
  return statement_.operands[i];
}

Operand Builder::operand_of_register(int index) const {
  return decoder_.register_operand(function_, index);
}

void Builder::result(const Term& term, int bytes) {
  if (term.kind == Term::Kind::Sink) {
    results_.push_back(decoder_.scratch(bytes));
    return;
  }
  if (term.kind != Term::Kind::Register) unknown("a result must be a register");
  const Operand operand = operand_of_register(term.index);
  if (operand.bytes != bytes) unknown(fmt::format("a result is {} bytes wide instead of {}", operand.bytes, bytes));
  results_.push_back(operand);
}

void Builder::result_of_any_width(const Term& term) {
  if (term.kind == Term::Kind::Register) {
    result(term, operand_of_register(term.index).bytes);
  } else {
    result(term, 8);
  }
}

void Builder::predicate_result(int register_index) {
  if (register_index < 0) {
    results_.push_back(decoder_.scratch(0));
  } else {
    const Operand operand = operand_of_register(register_index);
    if (operand.bytes != 0) unknown("a result must be a predicate");
    results_.push_back(operand);
  }
}

Operand Builder::operand_of_term(const Term& term, Type immediate_type) {
  switch (term.kind) {
    case Term::Kind::Register:
      if (term.negated) unsupported("a negated source");
      return operand_of_register(term.index);
    case Term::Kind::Integer:
    case Term::Kind::Float32:
    case Term::Kind::Float64:
      if (immediate_type == Type::Pred) return decoder_.constant(term.bits != 0 ? kAllLanes : 0, 0);
      return decoder_.constant(convert_immediate(term, immediate_type), bytes_of(immediate_type));
    case Term::Kind::Symbol: {
      const Decoder::Place place = decoder_.place(function_, term, *this);
      const uint64_t address = place.address + static_cast<uint64_t>(term.offset);
      return decoder_.constant(address, bytes_of(immediate_type));
    }
    default:
      unknown("an operand is neither register nor immediate");
  }
}

void Builder::source(const Term& term, Type type) {
  const Operand operand = operand_of_term(term, type);
  if (operand.bytes != bytes_of(type)) {
    unknown(fmt::format("an operand is {} bytes wide instead of {}", operand.bytes, bytes_of(type)));
  }
  sources_.push_back(operand);
}

void Builder::source_of_any_width(const Term& term, Type immediate_type) {
  sources_.push_back(operand_of_term(term, immediate_type));
}

void Builder::constant(uint64_t bits, int bytes) {
  sources_.push_back(decoder_.constant(bits, bytes));
}

void Builder::address(const Term& term) {
  if (term.kind != Term::Kind::Address) unknown("an operand must be an address");
  op.offset = term.offset;
  if (term.index >= 0) {
    const Operand base = operand_of_register(term.index);
    if (base.bytes != 4 && base.bytes != 8) unknown("an address must have 4 or 8 bytes");
    sources_.push_back(base);
    return;
  }
  uint64_t base = 0;
  if (!term.symbol.empty()) {
    const Decoder::Place place = decoder_.place(function_, term, *this);
    const bool may_differ = op.space == Space::Generic || op.space == Space::Param;
    if (place.space != op.space && !may_differ) unknown(term.symbol + " lies in another space");
    op.space = place.space;  // a function's `.param` variable lies in local memory
    base = place.address;
  }
  sources_.push_back(decoder_.constant(base, 8));
}

uint32_t Builder::branch_target(const Term& term) const {
  if (term.label < 0) unknown("no label " + term.symbol);
  return decoder_.statement_pc(function_, term.label);
}

uint32_t Builder::branch_table(const std::string& label) {
  auto found = function_.branch_targets.find(label);
  if (found == function_.branch_targets.end()) unknown("no list of targets " + label);
  std::vector<uint32_t> targets;
  for (const Term& term : found->second) targets.push_back(branch_target(term));
  decoder_.program.branch_tables.push_back(std::move(targets));
  return static_cast<uint32_t>(decoder_.program.branch_tables.size()) - 1;
}

// `call (results), name, (arguments);`, `call name, (arguments);` or `call name;`
void Builder::call() {
  std::size_t at = 0;
  std::vector<Term> results, arguments;
  if (term(at).kind == Term::Kind::Vector) results = term(at++).elements;
  const Term& name = term(at++);
  if (at < num_terms()) arguments = term(at++).elements;
  if (name.kind != Term::Kind::Symbol) unsupported("an indirect call");
  const Function* callee = decoder_.find_function(name.symbol);
  if (callee == nullptr || !callee->has_body) unsupported("a call of " + name.symbol + ", which has no body here");

  Call call;
  call.target = decoder_.entry_of(*callee);
  call.return_address = decoder_.return_address(*callee);
  auto offset = [&](const Term& variable) {
    if (variable.variable < 0) unsupported("a call with an argument that is no .param variable");
    return decoder_.frame_offset(function_, variable.variable);
  };
  if (arguments.size() != callee->parameters.size() || results.size() != callee->results.size()) {
    unknown("the call's arguments are not those of " + name.symbol);
  }
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const int formal = callee->parameters[i];
    call.arguments.push_back({decoder_.frame_offset(*callee, formal), offset(arguments[i]),
                              static_cast<uint32_t>(callee->variables[static_cast<std::size_t>(formal)].size)});
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const int formal = callee->results[i];
    call.results.push_back({offset(results[i]), decoder_.frame_offset(*callee, formal),
                            static_cast<uint32_t>(callee->variables[static_cast<std::size_t>(formal)].size)});
  }
  decoder_.program.calls.push_back(std::move(call));
  op.target = static_cast<uint32_t>(decoder_.program.calls.size()) - 1;
}

Operand Builder::return_address() const {
  return decoder_.return_address(function_);
}

void Builder::run(Execute execute) {
  if (execute == nullptr) unknown("it has no implementation for its types");
  op.run = execute;
}

Op Builder::finish() {
  if (!modifiers_.empty()) unknown(fmt::format("the modifier .{} is not known here", modifiers_.front()));
  op.num_results = static_cast<uint8_t>(results_.size());
  op.num_sources = static_cast<uint8_t>(sources_.size());
  auto& pool = decoder_.program.operands;
  pool.insert(pool.end(), results_.begin(), results_.end());
  pool.insert(pool.end(), sources_.begin(), sources_.end());
  return op;
}

void Builder::unknown(const std::string& why) const {
  report("unknown-opcode", fmt::format("[ptx] {} in {}, line {}: {}. Teach the emulator this form.", statement_.opcode,
                                       function_.name, statement_.line, why));
}

void Builder::unsupported(const std::string& why) const {
  report("unsupported", fmt::format("[ptx] {}, line {}: {} is not supported. Write the kernel without.", function_.name,
                                    statement_.line, why));
}

}  // namespace triptych::emulator::ptx
