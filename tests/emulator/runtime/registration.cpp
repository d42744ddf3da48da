// What the constructors and the launch stubs that nvcc writes into an object file call. The declarations are those of
// the toolkit's crt/host_runtime.h, which can only be included in nvcc's own output.

#include <memory>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "emulator/runtime/api.h"
#include "emulator/runtime/registry.h"
#include "emulator/violation.h"

using namespace triptych::emulator;

namespace {

// Between <<<...>>> and the stub's call of cudaLaunchKernel.
struct Configuration {
  dim3 grid, block;
  std::size_t shared_bytes;
  cudaStream_t stream;
};

std::vector<Configuration>& configurations() {
  static thread_local std::vector<Configuration> stack;
  return stack;
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void* fat_binary) {
  // Lives as long as the process, as the code does.
  auto module = std::make_unique<std::shared_ptr<RegisteredModule>>(registry().add_module(fat_binary));
  return reinterpret_cast<void**>(module.release());
}

void __cudaRegisterFatBinaryEnd(void**) {}

void __cudaUnregisterFatBinary(void**) {}

char __cudaInitModule(void**) {
  return 1;
}

void __cudaRegisterFunction(void** handle, const char* host_stub, char*, const char* device_name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  registry().add_kernel(host_stub, {*reinterpret_cast<std::shared_ptr<RegisteredModule>*>(handle), device_name});
}

void __cudaRegisterVar(void**, char*, char*, const char* name, int, std::size_t, int, int) {
  report("unsupported",
         std::string("the device variable ") + name +
             ": __device__ and __constant__ variables are not emulated. Pass an argument to the kernel.");
}

void __cudaRegisterManagedVar(void**, void**, char*, const char* name, int, std::size_t, int, int) {
  report("unsupported", std::string("the managed variable ") + name + ".");
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream) {
  configurations().push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes, void* stream) {
  if (configurations().empty()) return last_error() = cudaErrorMissingConfiguration;
  const Configuration top = configurations().back();
  configurations().pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared_bytes = top.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = top.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host_stub) {
  *kernel = reinterpret_cast<cudaKernel_t>(registry().find(host_stub));
  return *kernel ? cudaSuccess : last_error() = cudaErrorInvalidDeviceFunction;
}

cudaError_t cudaGetKernel(cudaKernel_t* kernel, const void* host_stub) {
  return __cudaGetKernel(kernel, host_stub);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                               cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

}  // extern "C"
