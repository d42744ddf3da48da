#include "emulator/runtime/kernel_work.h"

#include <cstdlib>
#include <cstring>

#include <cxxabi.h>

#include "emulator/runtime/counters.h"

namespace triptych::emulator {

std::string readable_kernel_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  if (status != 0) return mangled;
  std::string name = text.get();
  // The parameter list is the last parenthesis at depth 0; template arguments may hold others.
  int depth = 0;
  for (std::size_t i = name.size(); i-- > 0;) {
    if (name[i] == ')') ++depth;
    if (name[i] == '(' && --depth == 0) {
      name.resize(i);
      break;
    }
  }
  return name;
}

KernelWork::KernelWork(std::shared_ptr<Module> module, const Module::Kernel& kernel, const Launch& launch,
                       void** arguments, DeviceMemory& memory)
    : module_(std::move(module)),
      kernel_(kernel),
      launch_(launch),
      parameters_(kernel.parameter_bytes),
      memory_(memory),
      window_(counting_window()) {
  for (std::size_t i = 0; i < kernel.parameters.size(); ++i)
    std::memcpy(parameters_.data() + kernel.parameters[i].offset, arguments[i], kernel.parameters[i].size);
  launch_.parameters = parameters_;
  count(window_, [&](Counts& counts) { ++counts.kernels[kernel_.name].launches; });
}

std::string KernelWork::name() const {
  return "kernel " + readable_kernel_name(kernel_.name);
}

bool KernelWork::advance() {
  result_ = run_kernel(kernel_, launch_, memory_);
  note_kernel_execution(kernel_.name);
  count(window_, [&](Counts& counts) {
    Counts::Kernel& is = counts.kernels[kernel_.name];
    is.bytes_read += result_.reads.num_bytes();
    is.bytes_written += result_.writes.num_bytes();
    is.bytes_loaded += result_.bytes_loaded;
    is.bytes_stored += result_.bytes_stored;
    is.instructions += result_.num_instructions;
  });
  return true;
}

std::vector<Access> KernelWork::accesses() const {
  std::vector<Access> result;
  for (const auto& [begin, end] : result_.reads.ranges()) result.push_back({begin, end, false});
  for (const auto& [begin, end] : result_.writes.ranges()) result.push_back({begin, end, true});
  return result;
}

}  // namespace triptych::emulator
