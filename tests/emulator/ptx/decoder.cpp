#include "emulator/ptx/decoder.h"

#include <algorithm>
#include <functional>

#include <cxxabi.h>
#include <fmt/format.h>

#include "emulator/immortal.h"
#include "emulator/ptx/coverage.h"
#include "emulator/ptx/function_parser.h"
#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

constexpr uint32_t kGapBytes = 64;  // between variables, so that running over the end of one is seen

template <class T>
T round_up(T value, T step) {
  return (value + step - 1) / step * step;
}

std::string demangle(const std::string& name) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                   &std::free);
  return status == 0 ? text.get() : name;
}

const HandlerTable& handlers() {
  static const HandlerTable& instance = immortal([] {
    HandlerTable table;
    for (auto add : {add_integer_ops, add_logic_ops, add_arithmetic_ops, add_float_ops, add_compare_ops,
                     add_convert_ops, add_move_ops, add_memory_ops, add_atomic_ops, add_async_ops, add_control_ops,
                     add_barrier_ops, add_warp_ops, add_matrix_ops}) {
      add(table);
    }
    return table;
  }());
  return instance;
}

bool special_register(const std::string& name, SpecialRegister& which) {
  using enum SpecialRegister;
  static const auto& kNames =
      immortal(std::map<std::string, SpecialRegister, std::less<>>{{"%tid.x", TidX},
                                                                   {"%tid.y", TidY},
                                                                   {"%tid.z", TidZ},
                                                                   {"%ntid.x", NtidX},
                                                                   {"%ntid.y", NtidY},
                                                                   {"%ntid.z", NtidZ},
                                                                   {"%ctaid.x", CtaidX},
                                                                   {"%ctaid.y", CtaidY},
                                                                   {"%ctaid.z", CtaidZ},
                                                                   {"%nctaid.x", NctaidX},
                                                                   {"%nctaid.y", NctaidY},
                                                                   {"%nctaid.z", NctaidZ},
                                                                   {"%laneid", LaneId},
                                                                   {"%warpid", WarpId},
                                                                   {"%nwarpid", NumWarps},
                                                                   {"%smid", SmId},
                                                                   {"%nsmid", NumSms},
                                                                   {"%gridid", GridId},
                                                                   {"WARP_SZ", WarpSize},
                                                                   {"%lanemask_eq", LanemaskEq},
                                                                   {"%lanemask_lt", LanemaskLt},
                                                                   {"%lanemask_le", LanemaskLe},
                                                                   {"%lanemask_gt", LanemaskGt},
                                                                   {"%lanemask_ge", LanemaskGe},
                                                                   {"%dynamic_smem_size", DynamicShared},
                                                                   {"%total_smem_size", TotalShared}});
  auto found = kNames.find(name);
  if (found == kNames.end()) return false;
  which = found->second;
  return true;
}

// A function without a `ret` at its end returns there.
const Statement& implicit_return() {
  static const Statement& instance = immortal([] {
    Statement statement;
    statement.opcode = "ret";
    return statement;
  }());
  return instance;
}

Flow flow_of(const std::string& opcode) {
  if (opcode == "bra") return Flow::Jump;
  if (opcode == "brx") return Flow::Table;
  return opcode == "ret" || opcode == "exit" || opcode == "trap" ? Flow::End : Flow::Next;
}

void for_each_symbol(const Term& term, const std::function<void(const Term&)>& visit) {
  if (!term.symbol.empty()) visit(term);
  for (const Term& element : term.elements) for_each_symbol(element, visit);
}

}  // namespace

Decoder::Decoder(std::shared_ptr<const Text> text, const Function& kernel) : text_(*text) {
  program.text = std::move(text);
  program.name = demangle(kernel.name);
  kernel_ = find_function(kernel.name);
}

Program Decoder::run() {
  std::set<std::string> open;
  visit(*kernel_, open);
  lay_out_module_variables();
  lay_out_shared_of_module();
  for (const Function* function : order_) {
    Layout& layout = layouts_[function];
    lay_out_registers(*function, layout);
    lay_out_variables(*function, layout);
    lay_out_statements(*function, layout);
  }
  program.dynamic_shared_begin = round_up(program.dynamic_shared_begin, 1024U);
  program.entry = layouts_.at(kernel_).pcs.front();
  for (const Function* function : order_) {
    for (const Statement& statement : function->statements) decode_statement(*function, statement);
    decode_statement(*function, implicit_return());
  }
  for (std::size_t i = 0; i < program.ops.size(); ++i) {
    program.ops[i].operands = program.operands.data() + first_operands_[i];
  }
  std::vector<uint32_t> begins;
  for (const Function* function : order_) begins.push_back(entry_of(*function));
  allocate_registers(program, flow_, begins);
  return std::move(program);
}

// Functions in the order in which their calls return.
void Decoder::visit(const Function& function, std::set<std::string>& open) {
  if (std::find(order_.begin(), order_.end(), &function) != order_.end()) return;
  if (!open.insert(function.name).second) {
    report("unsupported", fmt::format("[ptx] {} calls itself. Write the kernel without recursion.", function.name));
  }
  for (const Statement& statement : function.statements) {
    if (statement.opcode.rfind("call", 0) != 0) continue;
    for (const Term& term : statement.operands) {
      const Function* callee = term.kind == Term::Kind::Symbol ? find_function(term.symbol) : nullptr;
      if (callee != nullptr) visit(*callee, open);
    }
  }
  open.erase(function.name);
  order_.push_back(&function);
}

const Function* Decoder::find_function(const std::string& name) {
  if (auto found = program.functions.find(name); found != program.functions.end()) return &found->second;
  auto head = text_.functions.find(name);
  if (head == text_.functions.end()) return nullptr;
  return &program.functions.emplace(name, parse_body(head->second)).first->second;
}

void Decoder::lay_out_module_variables() {
  for (const Variable& variable : text_.variables) {
    if (variable.space == Space::Shared) continue;
    auto& bank = variable.space == Space::Const ? program.constant_bank : program.global_bank;
    bank.resize(round_up(bank.size(), static_cast<std::size_t>(variable.alignment)));
    const uint64_t window = variable.space == Space::Const ? 0 : kModuleWindow;
    module_places_[variable.name] = {variable.space, window + bank.size()};
    bank.insert(bank.end(), variable.contents.begin(), variable.contents.end());
  }
}

// Shared variables of the module count where a kernel, or what it calls, names them.
void Decoder::lay_out_shared_of_module() {
  std::set<std::string> used;
  for (const Function* function : order_) {
    for (const Statement& statement : function->statements) {
      for (const Term& term : statement.operands) {
        for_each_symbol(term, [&](const Term& symbol) { used.insert(symbol.symbol); });
      }
    }
  }
  program.dynamic_shared_begin = kSharedBegin;
  for (const Variable& variable : text_.variables) {
    if (variable.space != Space::Shared || variable.is_dynamic || used.count(variable.name) == 0) continue;
    module_places_[variable.name] = add_shared(variable);
  }
}

// Only numbered here: allocate_registers finds the places.
Operand Decoder::add_register(int bytes) {
  return {0, program.num_registers++, static_cast<uint8_t>(bytes)};
}

void Decoder::lay_out_registers(const Function& function, Layout& layout) {
  for (const Register& declared : function.registers) {
    layout.registers.push_back(add_register(bytes_of(declared.type)));
    Program::Special special{layout.registers.back()};
    if (special_register(declared.name, special.which)) program.specials.push_back(special);
  }
  layout.return_address = add_register(4);
}

void Decoder::lay_out_variables(const Function& function, Layout& layout) {
  uint64_t parameter_end = 0;
  for (std::size_t i = 0; i < function.variables.size(); ++i) {
    const Variable& variable = function.variables[i];
    if (function.is_entry && i < function.parameters.size()) {
      parameter_end = round_up(parameter_end, static_cast<uint64_t>(variable.alignment));
      layout.variables.push_back({Space::Param, parameter_end});
      parameter_end += variable.size;
    } else if (variable.space == Space::Shared) {
      layout.variables.push_back(add_shared(variable));
    } else if (variable.space == Space::Local || variable.space == Space::Param) {
      layout.variables.push_back(add_local(function, variable));
    } else {
      report("unsupported", fmt::format("[ptx] {}: variable {} in a function. Declare it in the module.", function.name,
                                        variable.name));
    }
  }
}

Decoder::Place Decoder::add_local(const Function& function, const Variable& variable) {
  const auto alignment = static_cast<uint32_t>(std::max(variable.alignment, 16));
  const uint32_t begin = round_up(program.local_bytes, alignment);
  program.local_ranges.push_back(
      {begin, begin + static_cast<uint32_t>(variable.size), function.name + ":" + variable.name});
  program.local_bytes = begin + static_cast<uint32_t>(variable.size) + 16;  // 16: the gap
  return {Space::Local, begin};
}

Decoder::Place Decoder::add_shared(const Variable& variable) {
  const auto alignment = static_cast<std::size_t>(variable.alignment);
  program.static_shared_bytes = round_up(program.static_shared_bytes, alignment) + variable.size;
  const uint32_t begin =
      round_up(program.dynamic_shared_begin, std::max<uint32_t>(static_cast<uint32_t>(alignment), 16));
  program.shared_ranges.push_back({begin, begin + static_cast<uint32_t>(variable.size), variable.name});
  program.dynamic_shared_begin = begin + static_cast<uint32_t>(variable.size) + kGapBytes;
  return {Space::Shared, begin};
}

// A call is two ops: the second fetches the results when the lanes return to it.
void Decoder::lay_out_statements(const Function& function, Layout& layout) {
  for (const Statement& statement : function.statements) {
    layout.pcs.push_back(num_pcs_);
    num_pcs_ += statement.opcode.rfind("call", 0) == 0 ? 2 : 1;
  }
  layout.pcs.push_back(num_pcs_++);
}

void Decoder::decode_statement(const Function& function, const Statement& statement) {
  const std::string name = statement.opcode.substr(0, statement.opcode.find('.'));
  Builder builder(*this, function, statement);
  auto handler = handlers().find(name);
  if (handler == handlers().end()) builder.unknown("no such opcode");
  const uint32_t coverage = coverage_index(statement.opcode);
  auto append = [&](Builder& built) {
    first_operands_.push_back(program.operands.size());
    program.ops.push_back(built.finish());
    program.origins.push_back({&statement, coverage});
    flow_.push_back(flow_of(name));
  };
  handler->second(builder);
  const uint32_t call = builder.op.target;
  append(builder);
  if (name != "call") return;
  static const Statement& fetch = immortal(Statement{0, {}, -1, false, "call.fetch", {}});
  Builder second(*this, function, fetch);
  second.op.target = call;
  handlers().at("call.fetch")(second);
  append(second);
}

Decoder::Place Decoder::place(const Function& function, const Term& term, const Builder& builder) {
  if (term.variable >= 0) return layouts_.at(&function).variables[static_cast<std::size_t>(term.variable)];
  if (auto found = module_places_.find(term.symbol); found != module_places_.end()) return found->second;
  for (const Variable& variable : text_.variables) {
    if (variable.is_dynamic && variable.name == term.symbol) return {Space::Shared, program.dynamic_shared_begin};
  }
  builder.unsupported("the address of " + term.symbol);
}

Operand Decoder::register_operand(const Function& function, int index) const {
  return layouts_.at(&function).registers[static_cast<std::size_t>(index)];
}

Operand Decoder::constant(uint64_t bits, int bytes) {
  if (bytes > 0 && bytes < 8) bits &= (uint64_t{1} << (8 * bytes)) - 1;
  auto [place, is_new] = constants_.try_emplace({bits, bytes});
  if (is_new) {
    place->second = add_register(bytes);
    program.constants.push_back({place->second, bits});
  }
  return place->second;
}

Operand Decoder::scratch(int bytes) {
  auto [place, is_new] = scratch_.try_emplace(bytes);
  if (is_new) place->second = add_register(bytes);
  return place->second;
}

uint32_t Decoder::statement_pc(const Function& function, int statement) const {
  return layouts_.at(&function).pcs[static_cast<std::size_t>(statement)];
}

Operand Decoder::return_address(const Function& function) const {
  return layouts_.at(&function).return_address;
}

uint32_t Decoder::entry_of(const Function& function) const {
  return layouts_.at(&function).pcs.front();
}

uint32_t Decoder::frame_offset(const Function& function, int variable) const {
  return static_cast<uint32_t>(layouts_.at(&function).variables[static_cast<std::size_t>(variable)].address);
}

std::shared_ptr<const Program> decode(std::shared_ptr<const Text> text, const Function& kernel) {
  try {
    return std::make_shared<const Program>(Decoder(std::move(text), kernel).run());
  } catch (const Violation&) {
    throw;
  } catch (const std::runtime_error& error) {  // of the parser
    report("unsupported", fmt::format("[ptx] {}: {}", kernel.name, error.what()));
  }
}

}  // namespace triptych::emulator::ptx
