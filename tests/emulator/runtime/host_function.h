#pragma once

#include <utility>

#include "emulator/runtime/api.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// cudaLaunchHostFunc.
class HostFunctionWork : public Work {
 public:
  HostFunctionWork(cudaHostFn_t function, void* argument) : function_(function), argument_(argument) {}
  std::string name() const override { return "host function"; }
  bool advance() override {
    inside_host_function() = true;
    function_(argument_);
    inside_host_function() = false;
    return true;
  }
  std::vector<Access> accesses() const override { return {}; }

 private:
  cudaHostFn_t function_;
  void* argument_;
};

}  // namespace triptych::emulator
