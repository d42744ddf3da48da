#include "emulator/runtime/options.h"

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

[[noreturn]] void refuse(const char* name, std::string_view value, const char* rule) {
  report("bad-argument", std::string(name) + " must be " + rule + ", found '" + std::string(value) + "'.");
}

uint64_t number(const char* name, uint64_t otherwise, uint64_t least, uint64_t most) {
  const char* text = std::getenv(name);
  if (!text) return otherwise;
  const std::string_view value = text;
  uint64_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc{} || end != value.data() + value.size() || result < least || result > most)
    refuse(name, value, ("a number from " + std::to_string(least) + " to " + std::to_string(most)).c_str());
  return result;
}

StreamMode mode_from_environment() {
  const char* name = "TRIPTYCH_EMULATOR_STREAMS";
  const char* text = std::getenv(name);
  const std::string_view value = text ? text : "deferred";
  if (value == "deferred") return StreamMode::deferred;
  if (value == "eager") return StreamMode::eager;
  if (value == "random") return StreamMode::random;
  if (value == "others-first") return StreamMode::others_first;
  refuse(name, value, "deferred, eager, random or others-first");
}

}  // namespace

Options Options::from_environment() {
  Options options;
  options.num_devices = static_cast<int>(number("TRIPTYCH_EMULATOR_DEVICES", 8, 0, 64));
  options.memory_bytes = number("TRIPTYCH_EMULATOR_MEMORY_MB", 1024, 1, 1 << 20) << 20;
  options.target = static_cast<int>(number("TRIPTYCH_EMULATOR_TARGET", 90, 80, 90));
  if (options.target != 80 && options.target != 90)
    refuse("TRIPTYCH_EMULATOR_TARGET", std::to_string(options.target), "80 or 90");
  options.has_bias_gradients = number("TRIPTYCH_EMULATOR_BGRAD", 1, 0, 1) == 1;
  options.streams.mode = mode_from_environment();
  options.streams.seed = number("TRIPTYCH_EMULATOR_SEED", 0, 0, UINT64_MAX);
  options.streams.worker = number("TRIPTYCH_EMULATOR_WORKER", 1, 0, 1) == 1;
  return options;
}

}  // namespace triptych::emulator
