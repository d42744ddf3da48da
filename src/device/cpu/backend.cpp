#include "device/backend.h"

#include <fstream>
#include <thread>

#include <fmt/core.h>
#include <omp.h>

namespace triptych::device {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string simd() {
  std::string names;
#if defined(__x86_64__)
  const auto add = [&](bool has, std::string_view name) {
    if (has) names += fmt::format("{}{}", names.empty() ? "" : " ", name);
  };
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bf16"), "avx512_bf16");
#endif
  return names.empty() ? "none known" : names;
}

}  // namespace

std::string_view backend_kind() {
  return "cpu";
}

std::unique_ptr<TraceListener> profiler_ranges() {
  return nullptr;
}

std::vector<BackendFact> backend_facts() {
  return {{"processor", processor()},
          {"cores", std::to_string(std::thread::hardware_concurrency())},
          {"SIMD", simd()},
          {"OpenMP", fmt::format("{} threads by default", omp_get_max_threads())}};
}

std::vector<EnvironmentSetting> backend_environment() {
  return {};
}

std::vector<std::string> visible_devices() {
  return {};
}

}  // namespace triptych::device
