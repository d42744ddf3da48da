#include "emulator/runtime/registry.h"

#include <utility>

#include "emulator/runtime/counters.h"
#include "emulator/runtime/fat_binary.h"

namespace triptych::emulator {

std::shared_ptr<Module> RegisteredModule::module(int target) {
  std::shared_ptr<Module>& module = modules_[target];
  if (module) return module;
  FatBinary binary = read_fat_binary(fat_binary_);
  const auto above = binary.ptx.upper_bound(target);
  if (above == binary.ptx.begin()) return nullptr;
  auto& [architecture, ptx] = *std::prev(above);
  return module = Module::parse(std::move(ptx), "compute_" + std::to_string(architecture));
}

int RegisteredModule::registers_per_thread(const std::string& kernel, int target) {
  const auto [entry, is_new] = num_registers_.try_emplace(target);
  if (is_new) {
    const FatBinary binary = read_fat_binary(fat_binary_);
    const auto cubin = binary.cubins.find(target);
    if (cubin != binary.cubins.end()) entry->second = emulator::registers_per_thread(cubin->second);
  }
  const auto found = entry->second.find(kernel);
  return found == entry->second.end() ? 0 : found->second;
}

std::shared_ptr<RegisteredModule> Registry::add_module(const void* fat_binary) {
  return std::make_shared<RegisteredModule>(fat_binary);
}

void Registry::add_kernel(const void* host_stub, RegisteredKernel kernel) {
  note_registered_kernel(kernel.name);
  std::lock_guard lock(mutex_);
  kernels_[host_stub] = std::make_unique<RegisteredKernel>(std::move(kernel));
}

RegisteredKernel* Registry::find(const void* stub_or_handle) {
  std::lock_guard lock(mutex_);
  const auto found = kernels_.find(stub_or_handle);
  if (found != kernels_.end()) return found->second.get();
  for (const auto& [stub, kernel] : kernels_)
    if (kernel.get() == stub_or_handle) return kernel.get();
  return nullptr;
}

Registry::Prepared Registry::prepare(const RegisteredKernel& kernel, int target) {
  std::lock_guard lock(mutex_);
  Prepared result;
  result.module = kernel.module->module(target);
  if (!result.module) return result;
  result.kernel = result.module->find(kernel.name);
  result.registers_per_thread = kernel.module->registers_per_thread(kernel.name, target);
  return result;
}

// Never destroyed: objects unregister when the process ends, in an order that nobody controls.
Registry& registry() {
  static Registry& instance = *std::make_unique<Registry>().release();
  return instance;
}

}  // namespace triptych::emulator
