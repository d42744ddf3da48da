#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "emulator/ptx/engine.h"
#include "emulator/ptx/program.h"

namespace triptych::emulator {

/// A kernel's text, decoded when it is first launched. Thread-safe.
struct Module::Kernel::Code {
 public:
  Code(std::shared_ptr<const ptx::Text> text, const ptx::Function& function)
      : text_(std::move(text)), function_(function) {}
  const ptx::Program& program();

 private:
  std::shared_ptr<const ptx::Text> text_;
  const ptx::Function& function_;  // of text_
  std::mutex mutex_;
  std::shared_ptr<const ptx::Program> program_;
};

}  // namespace triptych::emulator
