#include "launcher/doctor.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <unistd.h>

#include "base/console.h"
#include "base/program_identity.h"
#include "base/text.h"
#include "data/libraries.h"
#include "device/backend.h"
#include "device/device.h"
#include "kernels/gemm_peak.h"
#include "kernels/libraries.h"
#include "launcher/backend.h"
#include "parallel/device_group.h"
#include "parallel/mpi_version.h"

namespace triptych::launcher {
namespace {

void print_row(std::string_view name, std::string_view value) {
  print("{:<12} {}\n", name, value);
}

// What the program beside this one says of its backend.
void print_other_backend() {
  const std::filesystem::path other = other_backends_program();
  if (other.empty()) {
    print_row("CUDA",
              "no triptych-cuda beside this program: `cmake --build --preset release` builds it where the CUDA "
              "toolkit and NCCL are installed");
    return;
  }
  std::fflush(stdout);
  if (std::system(fmt::format("'{}' doctor --backend-only", other.string()).c_str()) != 0) {
    print_row("CUDA", fmt::format("{} does not start: is a library missing? `ldd` tells", other.string()));
  }
}

int doctor(bool backend_only) {
  if (!backend_only) {
    print_row("program", fmt::format("triptych {}", program_release()));
    print_row("memory", human_bytes(static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                                    static_cast<double>(::sysconf(_SC_PAGE_SIZE))));
  }
  for (const BackendFact& fact : backend_facts()) print_row(fact.name, fact.value);
  for (const KernelLibrary& library : kernel_libraries()) print_row(library.name, library.version);
  if (const std::string transport = device_transport_text(); !transport.empty()) print_row("between GPUs", transport);
  if (backend_only) return 0;
  if (backend_kind() == "cpu") {
    Device device(1);
    const auto speed = [&](DType dtype) {
      const std::optional<double> peak = measure_gemm_peak(device, dtype);
      return peak ? fmt::format("{:.1f} GFLOP/s", *peak / 1e9) : "no memory to measure it";
    };
    print_row("GEMM, 1 core", fmt::format("fp32 {}, bf16 {}", speed(DType::kFloat32), speed(DType::kBFloat16)));
  }
  print_row("MPI", mpi_version_text());
  print_row("HDF5", hdf5_version_text());
  if (backend_kind() == "cpu") print_other_backend();
  const bool mpirun = std::system("command -v mpirun >/dev/null 2>&1") == 0;
  print_row("missing",
            mpirun ? "nothing that the CPU backend needs" : "mpirun: install openmpi-bin to train on several ranks");
  return 0;
}

}  // namespace

void register_doctor(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("doctor", "Says what this machine has for training, and what is missing");
  const auto backend_only = std::make_shared<bool>(false);
  command->add_flag("--backend-only", *backend_only, "Only what concerns this program's backend");
  command->callback([backend_only, &run] { run = [backend_only] { return doctor(*backend_only); }; });
}

}  // namespace triptych::launcher
