#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "emulator/ptx/engine.h"

namespace triptych::emulator {

/// The device code of one object file.
class RegisteredModule {
 public:
  explicit RegisteredModule(const void* fat_binary) : fat_binary_(fat_binary) {}

  /// Parsed at the first use: the newest PTX that a device of compute capability `target` can run. Null if there is
  /// none.
  std::shared_ptr<Module> module(int target);
  /// As ptxas compiled it for `target`; 0 if the object has no code for exactly that.
  int registers_per_thread(const std::string& kernel, int target);

 private:
  const void* fat_binary_;
  std::map<int, std::shared_ptr<Module>> modules_;           // by target
  std::map<int, std::map<std::string, int>> num_registers_;  // by target
};

struct RegisteredKernel {
  std::shared_ptr<RegisteredModule> module;
  std::string name;                                       ///< mangled
  std::optional<std::size_t> max_dynamic_shared_bytes{};  ///< set by cudaFuncSetAttribute
};

/// The kernels of the program by the address of their host stubs, as the objects' constructors register them.
/// Thread-safe; a kernel stays where it is.
class Registry {
 public:
  std::shared_ptr<RegisteredModule> add_module(const void* fat_binary);
  void add_kernel(const void* host_stub, RegisteredKernel kernel);
  /// Null if there is none. `stub_or_handle` is a host stub or what __cudaGetKernel gave for it.
  RegisteredKernel* find(const void* stub_or_handle);

  struct Prepared {
    std::shared_ptr<Module> module;
    const Module::Kernel* kernel = nullptr;  ///< null if the device has no code for it
    int registers_per_thread = 0;
  };
  Prepared prepare(const RegisteredKernel& kernel, int target);

 private:
  std::mutex mutex_;
  std::map<const void*, std::unique_ptr<RegisteredKernel>> kernels_;
};

/// One for the process: objects register before main, and before there is any device.
Registry& registry();

}  // namespace triptych::emulator
