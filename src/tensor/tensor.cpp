#include "tensor/tensor.h"

#include <utility>

#include "kernels/elementwise.h"
#include "kernels/strided.h"

namespace triptych::tensor {
namespace {

static_assert(Shape::kMaxRank <= kMaxStridedDims);

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    strides[dim] = stride;
    stride *= shape[dim];
  }
  return strides;
}

}  // namespace

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", (*this)[i]);
  return text + "]";
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

Tensor::Storage::~Storage() {
  if (!pending) return;
  try {
    pending();
  } catch (const Error&) {  // nobody reads the result; whoever reads the next one meets the same failure
  }
}

Tensor Tensor::empty(Device& device, DType dtype, const Shape& shape, MemoryPart part) {
  Tensor result;
  result.dtype_ = dtype;
  result.shape_ = shape;
  result.strides_ = row_major_strides(shape);
  for (const int64_t dim : shape) TRIPTYCH_CHECK(dim >= 0, "shape {}", shape.to_string());
  result.storage_ = std::make_shared<Storage>(device, device.allocate(result.num_bytes(), part));
  return result;
}

Tensor Tensor::without_memory(Device& device, DType dtype, const Shape& shape) {
  Tensor result;
  result.dtype_ = dtype;
  result.shape_ = shape;
  result.strides_ = row_major_strides(shape);
  result.storage_ = std::make_shared<Storage>(device, Buffer());
  result.storage_->missing_bytes = result.num_bytes();
  return result;
}

Tensor Tensor::zeros(Device& device, DType dtype, const Shape& shape, MemoryPart part) {
  Tensor result = empty(device, dtype, shape, part);
  result.fill_zero();
  return result;
}

bool Tensor::is_contiguous() const {
  int64_t stride = 1;
  for (int dim = shape_.rank() - 1; dim >= 0; --dim) {
    if (shape_[dim] != 1 && strides_[dim] != stride) return num_elements() == 0;
    stride *= shape_[dim];
  }
  return true;
}

Device& Tensor::device() const {
  TRIPTYCH_CHECK(defined(), "an undefined tensor has no device");
  return *storage_->device;
}

Tensor Tensor::view(const Shape& shape) const {
  TRIPTYCH_CHECK(is_contiguous(), "only a contiguous tensor can be viewed in another shape");
  TRIPTYCH_CHECK(shape.num_elements() == num_elements(), "{} viewed as {}", shape_.to_string(), shape.to_string());
  Tensor result = *this;
  result.shape_ = shape;
  result.strides_ = row_major_strides(shape);
  return result;
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t length) const {
  TRIPTYCH_CHECK(begin >= 0 && length >= 0 && begin + length <= shape_[dim], "[{}, {}) of dim {} of {}", begin,
                 begin + length, dim, shape_.to_string());
  Tensor result = *this;
  result.shape_[dim] = length;
  result.offset_ += begin * strides_[dim];
  return result;
}

Tensor Tensor::contiguous() const {
  return is_contiguous() ? *this : clone();
}

Tensor Tensor::clone() const {
  Tensor result = empty(device(), dtype_, shape_);
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  const Tensor packed = contiguous();
  Tensor result = empty(device(), dtype, shape_);
  cast(device().stream(), packed.raw(), dtype_, result.raw(), dtype, num_elements());
  return result;
}

void Tensor::copy_from(const Tensor& source) {
  TRIPTYCH_CHECK(source.shape_ == shape_ && source.dtype_ == dtype_, "copy of {} {} to {} {}",
                 dtype_name(source.dtype_), source.shape_.to_string(), dtype_name(dtype_), shape_.to_string());
  auto* to = static_cast<std::byte*>(raw());
  const auto* from = static_cast<const std::byte*>(source.raw());
  if (num_elements() == 0) return;
  if (is_contiguous() && source.is_contiguous()) {
    device().copy(to, from, num_bytes());
  } else {
    copy_strided(device().stream(), {.src = from,
                                     .dst = to,
                                     .dims = shape_,
                                     .src_strides = source.strides_,
                                     .dst_strides = strides_,
                                     .element_bytes = static_cast<int64_t>(dtype_bytes(dtype_))});
  }
}

void Tensor::fill_zero() {
  TRIPTYCH_CHECK(is_contiguous(), "fill_zero() of a strided view");
  device().zero(raw(), num_bytes());
}

void* Tensor::raw() const {
  wait();
  TRIPTYCH_CHECK(storage_->missing_bytes == 0, "a tensor {} was used without its memory", shape_.to_string());
  return storage_->buffer.data() + offset_ * static_cast<int64_t>(dtype_bytes(dtype_));
}

void Tensor::set_pending(std::function<void()> complete) {
  TRIPTYCH_CHECK(!storage_->pending, "a tensor can wait for one operation at a time");
  storage_->pending = std::move(complete);
}

void Tensor::clear_pending() {
  storage_->pending = {};
}

void Tensor::drop_memory() {
  TRIPTYCH_CHECK(!storage_->pending, "the memory of a tensor that waits for an operation is not dropped");
  if (storage_->missing_bytes != 0) return;
  storage_->missing_bytes = storage_->buffer.size();
  storage_->buffer = Buffer();
}

void Tensor::provide_memory(MemoryPart part) {
  if (storage_->missing_bytes == 0) return;
  storage_->buffer = storage_->device->allocate(storage_->missing_bytes, part);
  storage_->missing_bytes = 0;
}

void Tensor::wait() const {
  TRIPTYCH_CHECK(defined(), "an undefined tensor has no memory");
  if (storage_->pending) {
    const std::function<void()> complete = std::exchange(storage_->pending, {});
    complete();
  }
}

}  // namespace triptych::tensor
