#include <map>
#include <mutex>
#include <stdexcept>

#include "emulator/ptx/engine.h"
#include "emulator/ptx/function_parser.h"
#include "emulator/ptx/kernel_code.h"
#include "emulator/ptx/parser.h"
#include "emulator/violation.h"

namespace triptych::emulator {

struct Module::Impl {
  std::shared_ptr<const ptx::Text> text;
  std::map<std::string, Kernel, std::less<>> kernels;
};

namespace {

std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

std::size_t declared_shared_bytes(const ptx::Function& function) {
  std::size_t bytes = 0;
  for (const ptx::Variable& variable : ptx::shared_variables(function)) {
    bytes = round_up(bytes, static_cast<std::size_t>(variable.alignment)) + variable.size;
  }
  return bytes;
}

Module::Kernel describe(const std::shared_ptr<const ptx::Text>& text, const ptx::Function& function) {
  Module::Kernel kernel;
  kernel.name = function.name;
  for (const int index : function.parameters) {
    const ptx::Variable& variable = function.variables[static_cast<std::size_t>(index)];
    const std::size_t offset = round_up(kernel.parameter_bytes, static_cast<std::size_t>(variable.alignment));
    kernel.parameters.push_back({offset, variable.size});
    kernel.parameter_bytes = offset + variable.size;
  }
  kernel.static_shared_bytes = declared_shared_bytes(function);
  kernel.max_threads = function.max_threads;
  kernel.code = std::make_shared<Module::Kernel::Code>(text, function);
  return kernel;
}

}  // namespace

const ptx::Program& Module::Kernel::Code::program() {
  std::lock_guard lock(mutex_);
  if (program_ == nullptr) program_ = ptx::decode(text_, function_);
  return *program_;
}

std::shared_ptr<Module> Module::parse(std::string ptx, std::string name) {
  auto module = std::make_shared<Module>();
  module->impl_ = std::make_shared<Impl>();
  try {
    module->impl_->text = ptx::parse(std::move(ptx));
  } catch (const std::runtime_error& error) {
    report("unsupported", "[" + name + "] " + error.what());
  }
  for (const auto& [function_name, function] : module->impl_->text->functions) {
    if (function.is_entry && function.has_body) {
      module->impl_->kernels.emplace(function_name, describe(module->impl_->text, function));
    }
  }
  return module;
}

const Module::Kernel* Module::find(std::string_view name) const {
  auto found = impl_->kernels.find(name);
  return found == impl_->kernels.end() ? nullptr : &found->second;
}

std::vector<std::string> Module::kernel_names() const {
  std::vector<std::string> names;
  for (const auto& [name, kernel] : impl_->kernels) names.push_back(name);
  return names;
}

int Module::target() const {
  return impl_->text->target;
}

}  // namespace triptych::emulator
