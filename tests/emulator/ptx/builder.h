#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

class Decoder;

/// Makes an Op of a Statement. A handler takes the modifiers that it knows and names the operands; a modifier that is
/// left over, or an operand of another width than the opcode says, is reported as `unknown-opcode`.
class Builder {
 public:
  Builder(Decoder& decoder, const Function& function, const Statement& statement);

  bool take(std::string_view modifier);
  /// The first of `modifiers` that the opcode has, "" if none.
  std::string_view take_any(std::initializer_list<std::string_view> modifiers);
  Type take_type();        ///< the next type; there must be one
  Type peek_type() const;  ///< None if there is no type left

  std::size_t num_terms() const { return statement_.operands.size(); }
  const Term& term(std::size_t i) const;

  void result(std::size_t i, Type type) { result(term(i), bytes_of(type)); }
  void result(const Term& term, int bytes);
  void result_of_any_width(const Term& term);
  void predicate_result(int register_index);  ///< -1 for one that is not wanted
  void source(std::size_t i, Type type) { source(term(i), type); }
  void source(const Term& term, Type type);
  void source_of_any_width(const Term& term, Type immediate_type);
  void source_operand(const Operand& operand) { sources_.push_back(operand); }
  void constant(uint64_t bits, int bytes);
  /// The base of an address: a source of 4 or 8 bytes, with `op.offset`, and `op.space` where a symbol decides it.
  void address(const Term& term);

  Operand operand_of_register(int index) const;
  uint32_t branch_target(const Term& term) const;
  uint32_t branch_table(const std::string& label);
  void call();
  Operand return_address() const;

  Op op;
  Op finish();
  const Function& function() const { return function_; }
  const Statement& statement() const { return statement_; }
  /// Sets op.run, or reports an unknown opcode if it is null: the types have no implementation.
  void run(Execute execute);
  [[noreturn]] void unknown(const std::string& why) const;
  [[noreturn]] void unsupported(const std::string& why) const;

 private:
  Operand operand_of_term(const Term& term, Type immediate_type);

  Decoder& decoder_;
  const Function& function_;
  const Statement& statement_;
  std::vector<std::string_view> modifiers_;
  std::vector<Operand> results_, sources_;
};

using Handler = void (*)(Builder&);
using HandlerTable = std::unordered_map<std::string_view, Handler>;

void add_integer_ops(HandlerTable& table);
void add_logic_ops(HandlerTable& table);
void add_arithmetic_ops(HandlerTable& table);
void add_float_ops(HandlerTable& table);
void add_compare_ops(HandlerTable& table);
void add_convert_ops(HandlerTable& table);
void add_move_ops(HandlerTable& table);
void add_memory_ops(HandlerTable& table);
void add_atomic_ops(HandlerTable& table);
void add_async_ops(HandlerTable& table);
void add_control_ops(HandlerTable& table);
void add_barrier_ops(HandlerTable& table);
void add_warp_ops(HandlerTable& table);
void add_matrix_ops(HandlerTable& table);

}  // namespace triptych::emulator::ptx
