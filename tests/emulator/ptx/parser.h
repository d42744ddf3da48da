#pragma once

#include <memory>
#include <string>

#include "emulator/ptx/syntax.h"

namespace triptych::emulator::ptx {

/// Reads a PTX text but for the bodies of functions: a module may have thousands of kernel instances of which a process
/// launches a few. Throws std::runtime_error naming the line for what is no PTX.
std::shared_ptr<const Text> parse(std::string source);

}  // namespace triptych::emulator::ptx
