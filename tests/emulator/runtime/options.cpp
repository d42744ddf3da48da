#include "emulator/runtime/options.h"

#include <algorithm>
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

/// Of a machine with so many; empty if the environment names none.
std::vector<int> devices_from_environment(int num_devices) {
  const char* name = "CUDA_VISIBLE_DEVICES";
  const char* text = std::getenv(name);
  if (!text) return {};
  std::vector<int> devices;
  const std::string_view value = text;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    int device = -1;
    const auto [stop, error] = std::from_chars(value.data() + begin, value.data() + end, device);
    if (error != std::errc{} || stop != value.data() + end || device < 0 || device >= num_devices)
      refuse(name, value, "numbers of devices that the machine has");
    devices.push_back(device);
    begin = end + 1;
  }
  return devices;
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
  options.visible_devices = devices_from_environment(options.num_devices);
  if (!options.visible_devices.empty()) options.num_devices = static_cast<int>(options.visible_devices.size());
  options.memory_bytes = number("TRIPTYCH_EMULATOR_MEMORY_MB", 1024, 1, 1 << 20) << 20;
  options.target = static_cast<int>(number("TRIPTYCH_EMULATOR_TARGET", 90, 80, 90));
  if (options.target != 80 && options.target != 86 && options.target != 90)
    refuse("TRIPTYCH_EMULATOR_TARGET", std::to_string(options.target), "80, 86 or 90");
  options.bias_gradients = static_cast<BiasGradients>(number("TRIPTYCH_EMULATOR_BGRAD", 1, 0, 2));
  const char* const loading = std::getenv("CUDA_MODULE_LOADING");
  options.loads_lazily =
      number("TRIPTYCH_EMULATOR_LAZY", 0, 0, 1) == 1 && (!loading || std::string_view(loading) != "EAGER");
  options.streams.mode = mode_from_environment();
  options.streams.seed = number("TRIPTYCH_EMULATOR_SEED", 0, 0, UINT64_MAX);
  options.streams.worker = number("TRIPTYCH_EMULATOR_WORKER", 1, 0, 1) == 1;
  return options;
}

}  // namespace triptych::emulator
