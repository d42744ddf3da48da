#pragma once

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/ptx/engine.h"
#include "emulator/violation.h"

namespace triptych::emulator {

/// For tests of the engine: modules, device memory and launches by value.
class Engine {
 public:
  Engine() : memory(std::size_t{256} << 20) { throw_violations(true); }
  ~Engine() { throw_violations(false); }

  void load(const std::string& ptx) { module_ = Module::parse(ptx, "test"); }
  /// `basic` loads what nvcc made of kernels/basic.cu for this target.
  void load_file(const std::string& name, int target) {
    const std::string path =
        std::string(TRIPTYCH_EMULATOR_PTX_DIR) + "/" + name + ".sm_" + std::to_string(target) + ".ptx";
    std::ifstream file(path);
    if (!file) throw std::runtime_error("no file " + path);
    std::stringstream text;
    text << file.rdbuf();
    load(text.str());
  }

  template <class T>
  uint64_t device(const std::vector<T>& values, const std::string& what = "values") {
    const uint64_t address = memory.allocate(values.size() * sizeof(T), what);
    std::memcpy(memory.write(address, values.size() * sizeof(T), "test"), values.data(), values.size() * sizeof(T));
    return address;
  }
  uint64_t uninitialised(std::size_t bytes, const std::string& what = "values") { return memory.allocate(bytes, what); }
  template <class T>
  std::vector<T> host(uint64_t address, std::size_t count) {
    std::vector<T> values(count);
    std::memcpy(values.data(), memory.read(address, count * sizeof(T), "test"), count * sizeof(T));
    return values;
  }

  template <class... Arguments>
  LaunchResult run(const std::string& kernel_name, Arguments... arguments) {
    const Module::Kernel* kernel = module_->find(kernel_name);
    if (kernel == nullptr) throw std::runtime_error("no kernel " + kernel_name);
    std::vector<std::byte> parameters(kernel->parameter_bytes);
    std::size_t index = 0;
    (put(*kernel, parameters, index, arguments), ...);
    launch.parameters = parameters;
    return run_kernel(*kernel, launch, memory);
  }
  /// The name of the violation that the launch makes, "" if none.
  template <class... Arguments>
  std::string violation(const std::string& kernel_name, Arguments... arguments) {
    try {
      run(kernel_name, arguments...);
    } catch (const Violation& violation) {
      message = violation.what();
      return violation.name;
    }
    return "";
  }

  void shape(uint32_t grid, uint32_t block) { launch.grid = {grid, 1, 1}, launch.block = {block, 1, 1}; }

  DeviceMemory memory;
  Launch launch;
  std::string message;

 private:
  template <class T>
  static void put(const Module::Kernel& kernel, std::vector<std::byte>& parameters, std::size_t& index,
                  const T& value) {
    const Module::Parameter& parameter = kernel.parameters.at(index++);
    if (parameter.size != sizeof(T)) throw std::runtime_error("a parameter of another size");
    std::memcpy(parameters.data() + parameter.offset, &value, sizeof(T));
  }

  std::shared_ptr<Module> module_;
};

}  // namespace triptych::emulator
