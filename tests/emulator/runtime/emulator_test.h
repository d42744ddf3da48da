#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "emulator/runtime/runtime.h"
#include "emulator/violation.h"

namespace triptych::emulator {

/// Tests of the emulator itself: a fresh machine for each, with nothing in the background, whose violations are
/// exceptions.
class EmulatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    throw_violations(true);
    start({});
  }

  // What a test has left in its streams is not to run.
  void TearDown() override {
    start({});
    throw_violations(false);
  }

  void start(const std::function<void(Options&)>& change) {
    Options options;
    options.num_devices = 2;
    options.memory_bytes = std::size_t{64} << 20;
    options.streams.worker = false;
    if (change) change(options);
    restart(options);
    cudaGetLastError();
  }
  void start_mode(StreamMode mode, uint64_t seed = 0) {
    start([&](Options& options) {
      options.streams.mode = mode;
      options.streams.seed = seed;
    });
  }

  /// The message of the violation `name` that `run` must end in.
  static std::string violation(const std::string& name, const std::function<void()>& run) {
    try {
      run();
    } catch (const Violation& found) {
      EXPECT_EQ(found.name, name) << found.what();
      return found.message;
    }
    ADD_FAILURE() << "no violation, expected " << name;
    return "";
  }

  static cudaStream_t make_stream(unsigned flags = cudaStreamNonBlocking) {
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
    return stream;
  }
  static cudaEvent_t make_event(unsigned flags = cudaEventDisableTiming) {
    cudaEvent_t event = nullptr;
    EXPECT_EQ(cudaEventCreateWithFlags(&event, flags), cudaSuccess);
    return event;
  }
  template <typename T = float>
  static T* device(std::size_t count) {
    void* pointer = nullptr;
    EXPECT_EQ(cudaMalloc(&pointer, count * sizeof(T)), cudaSuccess);
    return static_cast<T*>(pointer);
  }
  template <typename T = float>
  static T* pinned(std::size_t count) {
    void* pointer = nullptr;
    EXPECT_EQ(cudaMallocHost(&pointer, count * sizeof(T)), cudaSuccess);
    return static_cast<T*>(pointer);
  }
  template <typename T>
  static T* upload(const std::vector<T>& values) {
    T* pointer = device<T>(values.size());
    EXPECT_EQ(cudaMemcpy(pointer, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    return pointer;
  }
  template <typename T>
  static std::vector<T> download(const T* pointer, std::size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(cudaMemcpy(values.data(), pointer, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }
};

}  // namespace triptych::emulator
