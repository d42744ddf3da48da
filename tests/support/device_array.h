#pragma once

#include <cstdint>
#include <vector>

#include "device/device.h"

namespace triptych::test {

/// Values in device memory, which the host reaches by copies alone.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(Device& device, const std::vector<T>& values)
      : device_(&device), size_(values.size()), buffer_(device.allocate(size_ * sizeof(T))) {
    device.write(buffer_.data(), values.data(), size_ * sizeof(T));
  }
  /// Undefined contents: what a kernel or a message must assign.
  DeviceArray(Device& device, int64_t size)
      : device_(&device), size_(static_cast<std::size_t>(size)), buffer_(device.allocate(size_ * sizeof(T))) {}

  T* data() { return reinterpret_cast<T*>(buffer_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(buffer_.data()); }
  int64_t size() const { return static_cast<int64_t>(size_); }
  /// Waits for the device.
  std::vector<T> host() const {
    std::vector<T> values(size_);
    device_->read(values.data(), buffer_.data(), size_ * sizeof(T));
    return values;
  }

 private:
  Device* device_;
  std::size_t size_;
  Buffer buffer_;
};

}  // namespace triptych::test
