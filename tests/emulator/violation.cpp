#include "emulator/violation.h"

#include <atomic>
#include <cstdio>

#include <unistd.h>

namespace triptych::emulator {
namespace {

constexpr int kExitCode = 86;
std::atomic<bool> throws_violations{false};
thread_local int num_catchers = 0;

}  // namespace

Violation::Violation(std::string_view kind, const std::string& text)
    : std::runtime_error("[" + std::string(kind) + "] " + text), name(kind), message(text) {}

void report(std::string_view name, const std::string& message) {
  if (throws_violations || num_catchers > 0) throw Violation(name, message);
  std::fprintf(stderr, "emulator: [%.*s] %s\n", static_cast<int>(name.size()), name.data(), message.c_str());
  std::fflush(nullptr);
  _exit(kExitCode);  // other threads may be in the middle of anything: no destructors
}

void throw_violations(bool throws) {
  throws_violations = throws;
}

CatchViolations::CatchViolations() {
  ++num_catchers;
}
CatchViolations::~CatchViolations() {
  --num_catchers;
}

}  // namespace triptych::emulator
