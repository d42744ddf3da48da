#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "device/device.h"
#include "tensor/shape.h"

namespace triptych::tensor {

/// A local, row-major array in device memory, or a view of a slice of one. Copies share the memory; `clone` copies it.
/// Knows nothing of ranks: layouts are the Variable's. The host never reads or writes through `raw` and `data`, which
/// are addresses for kernels; `from`, `to_vector` and `item` copy.
///
/// The memory may still be on its way (a collective returns at once): `raw`, `data` and `to_vector` complete it first.
/// Not thread-safe: a rank's tensors belong to the rank's thread.
class Tensor {
 public:
  Tensor() = default;

  /// Undefined contents.
  static Tensor empty(Device& device, DType dtype, const Shape& shape, MemoryPart part = MemoryPart::kOther);
  static Tensor zeros(Device& device, DType dtype, const Shape& shape, MemoryPart part = MemoryPart::kOther);
  /// One whose memory is not there: `provide_memory` brings it, before the first use.
  static Tensor without_memory(Device& device, DType dtype, const Shape& shape);
  template <typename T>
  static Tensor from(Device& device, const Shape& shape, std::span<const T> values);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size(int dim) const { return shape_[dim]; }
  int64_t num_elements() const { return shape_.num_elements(); }
  std::size_t num_bytes() const { return static_cast<std::size_t>(num_elements()) * dtype_bytes(dtype_); }
  /// Elements from one index of `dim` to the next.
  int64_t stride(int dim) const { return strides_[dim]; }
  bool is_contiguous() const;
  Device& device() const;

  /// The same elements in another shape. The tensor must be contiguous.
  Tensor view(const Shape& shape) const;
  /// Indices [begin, begin + length) of `dim`, sharing memory.
  Tensor slice(int dim, int64_t begin, int64_t length) const;
  /// This tensor if it is contiguous, else a contiguous copy.
  Tensor contiguous() const;
  Tensor clone() const;
  /// This tensor if it has that type, else a contiguous copy in it, rounded to nearest; of float types.
  Tensor to(DType dtype) const;
  void copy_from(const Tensor& source);
  void fill_zero();
  /// True if no other tensor shares the memory, so that it may be overwritten.
  bool is_sole_owner() const { return storage_.use_count() == 1; }

  /// First element; completes what is pending.
  void* raw() const;
  template <typename T>
  T* data() const {
    TRIPTYCH_CHECK(dtype_of<T> == dtype_, "the tensor holds {}, not {}", dtype_name(dtype_), dtype_name(dtype_of<T>));
    return static_cast<T*>(raw());
  }
  /// Contiguous copy on the host. Waits for the device, as `item` does: not for use in a step.
  template <typename T>
  std::vector<T> to_vector() const;
  /// The one element of a tensor of one.
  template <typename T>
  T item() const {
    TRIPTYCH_CHECK(num_elements() == 1, "item() of a tensor of shape {}", shape_.to_string());
    return to_vector<T>()[0];
  }

  /// `complete` runs before the memory is first used, once. It may wait for a collective and unpack what came. It must
  /// not hold this tensor (it would keep itself alive), only the address that `raw` gave.
  void set_pending(std::function<void()> complete);
  /// What is pending will not run.
  void clear_pending();
  void wait() const;

  /// Gives the memory back that this tensor and all that share it have. Before the next use it is to be provided again,
  /// by what is pending then; its contents are undefined. Of a tensor that was empty(), zeros() or without_memory().
  void drop_memory();
  void provide_memory(MemoryPart part);

 private:
  struct Storage {
    Storage(Device& owner, Buffer memory) : device(&owner), buffer(std::move(memory)) {}
    ~Storage();      // completes what is pending: a collective must not write into freed memory
    Device* device;  // outlives every tensor: the rank owns it
    Buffer buffer;
    std::function<void()> pending;
    std::size_t missing_bytes = 0;  // of memory that was dropped
  };
  std::shared_ptr<Storage> storage_;
  DType dtype_ = DType::kFloat32;
  Shape shape_, strides_;
  int64_t offset_ = 0;  // elements
};

template <typename T>
Tensor Tensor::from(Device& device, const Shape& shape, std::span<const T> values) {
  Tensor result = empty(device, dtype_of<T>, shape);
  TRIPTYCH_CHECK(static_cast<int64_t>(values.size()) == shape.num_elements(), "{} values for shape {}", values.size(),
                 shape.to_string());
  device.write(result.data<T>(), values.data(), values.size_bytes());
  return result;
}

template <typename T>
std::vector<T> Tensor::to_vector() const {
  const Tensor flat = contiguous();
  std::vector<T> values(static_cast<std::size_t>(flat.num_elements()));
  flat.device().read(values.data(), flat.data<T>(), flat.num_bytes());
  return values;
}

}  // namespace triptych::tensor
