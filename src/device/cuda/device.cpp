#include "device/device.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <cuda_profiler_api.h>

#include "base/error.h"
#include "base/text.h"
#include "device/backend.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/memory_pool.h"
#include "device/out_of_memory.h"

namespace triptych::device {
namespace {

constexpr int kLeastCapability = 8;  // the kernels use bfloat16 tensor cores and cp.async, which came with 8.0

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int attribute(cudaDeviceAttr which, int gpu) {
  int value = 0;
  TRIPTYCH_CUDA(cudaDeviceGetAttribute(&value, which, gpu));
  return value;
}

[[noreturn]] void refuse(const std::string& what) {
  throw UserError("device", what);
}

// That the process sees: at least one.
int count_gpus() {
  int num_gpus = 0;  // left as it is by a call that fails
  const cudaError_t code = cudaGetDeviceCount(&num_gpus);
  if (code == cudaErrorInsufficientDriver) {
    static_cast<void>(cudaGetLastError());
    int driver = 0, runtime = 0;
    TRIPTYCH_CUDA(cudaDriverGetVersion(&driver));
    TRIPTYCH_CUDA(cudaRuntimeGetVersion(&runtime));
    if (driver == 0) {
      refuse(
          "device = \"cuda\" needs NVIDIA's driver: libcuda.so.1 was not found. Install the driver, or set device = "
          "\"cpu\"");
    }
    refuse(
        fmt::format("the driver must know CUDA {}, which this program was built with: it knows {}. Update the "
                    "driver, or set device = \"cpu\"",
                    version_text(runtime), version_text(driver)));
  }
  if (code == cudaErrorNoDevice || (code == cudaSuccess && num_gpus == 0)) {
    static_cast<void>(cudaGetLastError());
    refuse(
        "device = \"cuda\" needs a GPU: the driver shows none. Look at CUDA_VISIBLE_DEVICES and nvidia-smi, or set "
        "device = \"cpu\"");
  }
  check_cuda(code, "cudaGetDeviceCount(&num_gpus)");
  return num_gpus;
}

// Binds the thread, before anything else asks CUDA for something of this GPU.
int bind_gpu(int gpu) {
  const int num_gpus = count_gpus();
  if (gpu < 0 || gpu >= num_gpus) {
    refuse(
        fmt::format("a GPU must be one of those that the process sees: GPU {}, found {}. Look at CUDA_VISIBLE_DEVICES",
                    gpu, num_gpus));
  }
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, gpu);
  if (major < kLeastCapability) {
    refuse(fmt::format("the kernels need compute capability {}.0: GPU {} has {}.{}. Use an A100 or later",
                       kLeastCapability, gpu, major, attribute(cudaDevAttrComputeCapabilityMinor, gpu)));
  }
  if (attribute(cudaDevAttrMemoryPoolsSupported, gpu) == 0) {
    refuse(fmt::format("the GPU must have stream-ordered memory pools: GPU {} has none. Update the driver", gpu));
  }
  TRIPTYCH_CUDA(cudaSetDevice(gpu));
  return gpu;
}

// As nvidia-smi writes it: "GPU-" and 8, 4, 4, 4 and 12 hexadecimal digits.
std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

std::unique_ptr<DeviceState> make_state(int num_threads, int gpu) {
  if (num_threads < 1) {
    throw UserError("device", fmt::format("a rank needs at least one thread, found {}. Set run.threads", num_threads));
  }
  return std::make_unique<DeviceState>(gpu);
}

}  // namespace

struct Event::State {
  CudaEvent event;
  std::shared_ptr<const HostWatches> watches;
};

// A process sees at most one instance of a GPU that is partitioned (MIG), and other processes see others with the GPU's
// own UUID in some versions of CUDA: there the name counts that made it visible.
std::vector<std::string> visible_devices() {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (const std::string_view names = visible == nullptr ? "" : visible; names.starts_with("MIG-")) {
    count_gpus();
    return {std::string(names.substr(0, names.find(',')))};
  }
  std::vector<std::string> ids;
  for (int gpu = 0, num_gpus = count_gpus(); gpu < num_gpus; ++gpu) {
    cudaDeviceProp properties{};
    TRIPTYCH_CUDA(cudaGetDeviceProperties(&properties, gpu));
    ids.push_back(uuid_text(properties.uuid));
  }
  return ids;
}

DeviceState::DeviceState(int number)
    : gpu(bind_gpu(number)),
      compute(std::make_shared<CudaStream>()),
      events(std::make_shared<EventList>()),
      watches(std::make_shared<HostWatches>()),
      staging(events, watches) {}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->free(data_, size_, part_);
}

HostBuffer::~HostBuffer() {
  // Fails only where the GPU or the process is going down.
  if (data_ != nullptr) static_cast<void>(cudaFreeHost(data_));
}

bool Event::done() const {
  return state_ == nullptr || state_->event.done();
}

void wait_on_host(const Event& event, const std::function<void()>& poll) {
  for (Naps naps; !event.done(); naps.next()) {
    event.state_->watches->poll();
    if (poll) poll();
  }
}

Device::Device(int num_threads, int number)
    : state_(make_state(num_threads, number)),
      pool_(std::make_shared<MemoryPool>(state_->gpu, state_->compute)),
      stream_(std::make_unique<Stream>(num_threads, state_->compute->get(), pool_.get())) {}

Device::~Device() = default;

std::string_view Device::kind() const {
  return "cuda";
}

std::string Device::description() const {
  cudaDeviceProp properties{};
  TRIPTYCH_CUDA(cudaGetDeviceProperties(&properties, state_->gpu));
  return fmt::format("GPU {}, {}, compute capability {}.{}, {}", state_->gpu, properties.name, properties.major,
                     properties.minor, human_bytes(static_cast<double>(properties.totalGlobalMem)));
}

bool Device::host_can_read() const {
  return false;
}

Buffer Device::allocate(std::size_t bytes, MemoryPart part) {
  return Buffer(pool_, pool_->allocate(bytes, part), bytes, part);
}

MemoryStats Device::memory() const {
  return pool_->stats();
}

void Device::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  TRIPTYCH_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state_->compute->get()));
}

void Device::zero(void* to, std::size_t bytes) {
  if (bytes == 0) return;
  TRIPTYCH_CUDA(cudaMemsetAsync(to, 0, bytes, state_->compute->get()));
}

void Device::write(void* to, const void* host, std::size_t bytes) {
  state_->staging.write(to, host, bytes, state_->compute->get());
}

void Device::read(void* host, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t compute = state_->compute->get();
  // A copy to pageable memory blocks inside the driver, where no watch could end a wait for a dead peer.
  if (!state_->watches->empty()) device::wait_on_host(CudaEvent(state_->events, compute), *state_->watches);
  TRIPTYCH_CUDA(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, compute));
  TRIPTYCH_CUDA(cudaStreamSynchronize(compute));
}

WorkLog* Device::work_log() {
  return nullptr;
}

void Device::profile(bool on) {
  if (on) {
    TRIPTYCH_CUDA(cudaProfilerStart());
  } else {
    TRIPTYCH_CUDA(cudaProfilerStop());
  }
}

void Device::synchronize() {
  for (const cudaStream_t stream : {state_->copy.get(), state_->compute->get()}) {
    if (state_->watches->empty()) {
      TRIPTYCH_CUDA(cudaStreamSynchronize(stream));
    } else {
      device::wait_on_host(CudaEvent(state_->events, stream), *state_->watches);
    }
  }
}

HostBuffer Device::allocate_host(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t code = cudaHostAlloc(&data, std::max<std::size_t>(bytes, 1), cudaHostAllocDefault);
  if (code == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw OutOfMemory("device", fmt::format("out of page-locked memory of the host's: {} were asked for. Use a smaller "
                                            "batch, or look at the limits of this machine (ulimit -l)",
                                            human_bytes(static_cast<double>(bytes))));
  }
  check_cuda(code, fmt::format("cudaHostAlloc of {} bytes", bytes));
  return HostBuffer(static_cast<std::byte*>(data), bytes);
}

Event Device::upload(void* to, const HostBuffer& from, std::size_t bytes, const Event& after) {
  TRIPTYCH_CHECK(bytes <= from.size(), "{} bytes of a host buffer of {}", bytes, from.size());
  const cudaStream_t copy = state_->copy.get();
  if (after.state_) after.state_->event.block(copy);
  if (bytes > 0) TRIPTYCH_CUDA(cudaMemcpyAsync(to, from.data(), bytes, cudaMemcpyHostToDevice, copy));
  Event event;
  event.state_ = std::make_shared<Event::State>(Event::State{CudaEvent(state_->events, copy), state_->watches});
  return event;
}

// On the compute stream, so that what is queued behind it may overwrite `from`.
Event Device::download(HostBuffer& to, const void* from, std::size_t bytes) {
  TRIPTYCH_CHECK(bytes <= to.size(), "{} bytes into a host buffer of {}", bytes, to.size());
  if (bytes > 0) {
    TRIPTYCH_CUDA(cudaMemcpyAsync(to.data(), from, bytes, cudaMemcpyDeviceToHost, state_->compute->get()));
  }
  return record();
}

Event Device::record() {
  Event event;
  event.state_ =
      std::make_shared<Event::State>(Event::State{CudaEvent(state_->events, state_->compute->get()), state_->watches});
  return event;
}

void Device::wait(const Event& event) {
  if (event.state_) event.state_->event.block(state_->compute->get());
}

}  // namespace triptych::device
