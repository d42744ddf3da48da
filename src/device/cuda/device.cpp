#include "device/device.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <cuda_profiler_api.h>

#include "base/error.h"
#include "base/text.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/memory_pool.h"

namespace triptych::device {
namespace {

constexpr int kLeastCapability = 8;  // the kernels use bfloat16 tensor cores and cp.async, which came with 8.0
// Streams that share a hardware queue wait for each other although nothing in the program says so: a send behind a
// receive would then wait for a peer that waits for the send. There are more streams than the default of 8 queues.
constexpr const char* kNumHardwareQueues = "32";

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int attribute(cudaDeviceAttr which, int gpu) {
  int value = 0;
  TRIPTYCH_CUDA(cudaDeviceGetAttribute(&value, which, gpu));
  return value;
}

// Binds the thread, before anything else asks CUDA for something of this GPU.
int bind_gpu(int local_rank) {
  const auto refuse = [](const std::string& what) { throw UserError("device", what); };
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", kNumHardwareQueues, 0);  // read by the driver when it starts
  int num_gpus = 0;                                                // left as it is by a call that fails
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
  if (local_rank < 0 || local_rank >= num_gpus) {
    refuse(
        fmt::format("each rank of a machine needs a GPU of its own: rank {0} of this machine, {1} GPU{2}. Start at "
                    "most {1} rank{2} a machine, or look at CUDA_VISIBLE_DEVICES",
                    local_rank, num_gpus, num_gpus == 1 ? "" : "s"));
  }
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, local_rank);
  if (major < kLeastCapability) {
    refuse(fmt::format("the kernels need compute capability {}.0: GPU {} has {}.{}. Use an A100 or later",
                       kLeastCapability, local_rank, major, attribute(cudaDevAttrComputeCapabilityMinor, local_rank)));
  }
  if (attribute(cudaDevAttrMemoryPoolsSupported, local_rank) == 0) {
    refuse(
        fmt::format("the GPU must have stream-ordered memory pools: GPU {} has none. Update the driver", local_rank));
  }
  TRIPTYCH_CUDA(cudaSetDevice(local_rank));
  return local_rank;
}

std::unique_ptr<DeviceState> make_state(int num_threads, int local_rank) {
  if (num_threads < 1) {
    throw UserError("device", fmt::format("a rank needs at least one thread, found {}. Set run.threads", num_threads));
  }
  return std::make_unique<DeviceState>(local_rank);
}

}  // namespace

struct Event::State {
  CudaEvent event;
  std::shared_ptr<const HostWatches> watches;
};

DeviceState::DeviceState(int local_rank)
    : gpu(bind_gpu(local_rank)),
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

Device::Device(int num_threads, int local_rank)
    : state_(make_state(num_threads, local_rank)),
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
    throw WorldError("device", fmt::format("out of page-locked memory of the host's: {} were asked for. Use a smaller "
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
