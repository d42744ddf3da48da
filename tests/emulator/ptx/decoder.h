#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/program.h"
#include "emulator/ptx/register_allocation.h"

namespace triptych::emulator::ptx {

/// Lays out registers, constants and variables of a kernel and the functions that it calls. A function's registers and
/// variables have one place each: it can be active once a lane, since recursion is refused.
class Decoder {
 public:
  Decoder(std::shared_ptr<const Text> text, const Function& kernel);
  Program run();

  /// A variable's or function parameter's place: an address in `space`.
  struct Place {
    Space space = Space::Generic;
    uint64_t address = 0;
  };
  Place place(const Function& function, const Term& term, const Builder& builder);
  Operand register_operand(const Function& function, int index) const;
  Operand constant(uint64_t bits, int bytes);
  Operand scratch(int bytes);  ///< for a result that nothing reads
  uint32_t statement_pc(const Function& function, int statement) const;
  Operand return_address(const Function& function) const;
  const Function* find_function(const std::string& name);
  uint32_t entry_of(const Function& function) const;
  /// Offset in local memory of a function's parameter or result, or of a caller's `.param` variable.
  uint32_t frame_offset(const Function& function, int variable) const;

  Program program;

 private:
  struct Layout {
    std::vector<Operand> registers;
    std::vector<Place> variables;
    Operand return_address;
    std::vector<uint32_t> pcs;  // by statement, and of the end
  };

  void visit(const Function& function, std::set<std::string>& open);
  void lay_out_module_variables();
  void lay_out_registers(const Function& function, Layout& layout);
  void lay_out_variables(const Function& function, Layout& layout);
  void lay_out_shared_of_module();
  void lay_out_statements(const Function& function, Layout& layout);
  Place add_local(const Function& function, const Variable& variable);
  Place add_shared(const Variable& variable);
  void decode_statement(const Function& function, const Statement& statement);
  Operand add_register(int bytes);

  const Text& text_;
  const Function* kernel_;
  std::vector<const Function*> order_;  // callees first
  std::map<const Function*, Layout> layouts_;
  std::map<std::string, Place> module_places_;
  std::map<std::pair<uint64_t, int>, Operand> constants_;
  std::map<int, Operand> scratch_;
  std::vector<std::size_t> first_operands_;  // by op: the pool moves while it grows
  std::vector<Flow> flow_;                   // by op
  uint32_t num_pcs_ = 0;
};

}  // namespace triptych::emulator::ptx
