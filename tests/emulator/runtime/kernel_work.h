#pragma once

#include <memory>
#include <string>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/ptx/engine.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// A kernel launch with its arguments as they were at the call.
class KernelWork : public Work {
 public:
  /// `arguments` as cudaLaunchKernel takes them: one address for each parameter.
  KernelWork(std::shared_ptr<Module> module, const Module::Kernel& kernel, const Launch& launch, void** arguments,
             DeviceMemory& memory);
  std::string name() const override;
  bool advance() override;
  bool can_run_again() const override { return true; }
  std::vector<Access> accesses() const override;

 private:
  std::shared_ptr<Module> module_;  // owns the kernel
  const Module::Kernel& kernel_;
  Launch launch_;
  std::vector<std::byte> parameters_;
  DeviceMemory& memory_;
  uint64_t window_;  // of the counters
  LaunchResult result_;
};

/// "void layer_norm<float>" for its mangled name: without the parameter list, as diagnoses need it.
std::string readable_kernel_name(const std::string& mangled);

}  // namespace triptych::emulator
