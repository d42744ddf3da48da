#pragma once

#include <csignal>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <nccl.h>

namespace triptych::emulator {

/// How a process of a test ended, and what it printed.
struct RankResult {
  int exit_code = 0;  ///< 128 + the signal's number if one ended it
  std::string output;
};

struct RankOptions {
  std::map<std::string, std::string> environment{};
};

/// Runs `body(rank, id)` in `size` processes: this program, started anew for the test that calls this. `id` is the same
/// in all of them. A process ends with 0 if nothing in `body` failed.
std::vector<RankResult> run_processes(int size, const std::function<void(int rank, const ncclUniqueId& id)>& body,
                                      const RankOptions& options = {});
/// run_processes, and all must end well.
void on_ranks(int size, const std::function<void(int rank, const ncclUniqueId& id)>& body,
              const RankOptions& options = {});
/// All that the processes printed.
std::string all_output(const std::vector<RankResult>& results);

/// Success or a failed test that names the call.
#define TRIPTYCH_EXPECT_NCCL(call) EXPECT_EQ((call), ncclSuccess) << #call << ": " << ncclGetLastError(nullptr)
#define TRIPTYCH_EXPECT_CUDA(call) EXPECT_EQ((call), cudaSuccess) << #call

/// A rank of one communicator, with a stream.
struct Member {
  Member(int in_rank, int in_size, const ncclUniqueId& id) : rank(in_rank), size(in_size) {
    TRIPTYCH_EXPECT_CUDA(cudaSetDevice(rank));
    TRIPTYCH_EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    TRIPTYCH_EXPECT_NCCL(ncclCommInitRank(&comm, size, id, rank));
  }
  ~Member() {
    if (comm != nullptr) {
      TRIPTYCH_EXPECT_NCCL(ncclCommDestroy(comm));
    }
    TRIPTYCH_EXPECT_CUDA(cudaStreamDestroy(stream));
  }
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  void synchronize() { TRIPTYCH_EXPECT_CUDA(cudaStreamSynchronize(stream)); }

  int rank, size;
  cudaStream_t stream = nullptr;
  ncclComm_t comm = nullptr;
};

/// Values in a member's device memory.
template <typename T>
class OnDevice {
 public:
  /// Nothing written.
  OnDevice(Member& member, int64_t size) : member_(member), size_(static_cast<std::size_t>(size)) {
    TRIPTYCH_EXPECT_CUDA(cudaMalloc(&data_, std::max<std::size_t>(size_ * sizeof(T), 1)));
  }
  OnDevice(Member& member, const std::vector<T>& values) : OnDevice(member, static_cast<int64_t>(values.size())) {
    if (size_ == 0) return;
    TRIPTYCH_EXPECT_CUDA(
        cudaMemcpyAsync(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, member_.stream));
  }
  ~OnDevice() { TRIPTYCH_EXPECT_CUDA(cudaFree(data_)); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> host() const {
    std::vector<T> values(size_);
    if (size_ > 0) {
      TRIPTYCH_EXPECT_CUDA(
          cudaMemcpyAsync(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, member_.stream));
    }
    member_.synchronize();
    return values;
  }

 private:
  Member& member_;
  std::size_t size_;
  void* data_ = nullptr;
};

}  // namespace triptych::emulator
