#include "launcher/doctor.h"

#include <array>
#include <fstream>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>
#include <dlfcn.h>
#include <fmt/core.h>
#include <omp.h>
#include <unistd.h>

#include "base/text.h"
#include "data/libraries.h"
#include "device/device.h"
#include "kernels/gemm_peak.h"
#include "kernels/libraries.h"
#include "parallel/mpi_version.h"

namespace triptych {
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

// Only whether the loader finds it: this build does not use it.
bool library_is_there(const char* name) {
  void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
  if (handle != nullptr) ::dlclose(handle);
  return handle != nullptr;
}

int doctor() {
  const auto row = [](std::string_view name, const std::string& value) { fmt::print("{:<12} {}\n", name, value); };
  Device device(1);
  row("program", fmt::format("triptych {}, CPU backend", TRIPTYCH_VERSION));
  row("processor", processor());
  row("cores", std::to_string(std::thread::hardware_concurrency()));
  row("memory",
      human_bytes(static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE))));
  row("SIMD", fmt::format("{}; kernels use {}", simd(), simd_target()));
  row("BLAS", fmt::format("oneDNN {}", dnnl_version_text()));
  row("GEMM, 1 core",
      fmt::format("fp32 {:.1f} GFLOP/s, bf16 {:.1f} GFLOP/s", measure_gemm_peak(device.stream(), DType::kFloat32) / 1e9,
                  measure_gemm_peak(device.stream(), DType::kBFloat16) / 1e9));
  row("OpenMP", fmt::format("{} threads by default", omp_get_max_threads()));
  row("MPI", mpi_version_text());
  row("HDF5", hdf5_version_text());
  const bool driver = library_is_there("libcuda.so.1");
  row("CUDA", fmt::format("this build has no CUDA backend; driver {}", driver ? "found" : "not found"));
  row("NCCL",
      fmt::format("not used by this build; library {}", library_is_there("libnccl.so.2") ? "found" : "not found"));
  const bool mpirun = std::system("command -v mpirun >/dev/null 2>&1") == 0;
  row("missing", mpirun ? "nothing that this build needs" : "mpirun: install openmpi-bin to train on several ranks");
  return 0;
}

}  // namespace

void register_doctor(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("doctor", "Says what this machine has for training, and what is missing");
  command->callback([&run] { run = doctor; });
}

}  // namespace triptych
