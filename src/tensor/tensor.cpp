#include "tensor/tensor.h"

#include <utility>

#include "base/checked.h"
#include "kernels/elementwise.h"

namespace triptych {
namespace {

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    strides[dim] = stride;
    stride *= shape[dim];
  }
  return strides;
}

// Copies elements between two layouts of one shape, in as few calls as the strides allow: the last dims that both hold
// without gaps are one run, the dim before them is the kernel's rows, and the ones before that are gone through here.
class StridedCopy {
 public:
  StridedCopy(Stream& stream, const Shape& shape, const Shape& target_strides, const Shape& source_strides,
              std::size_t element_bytes)
      : stream_(stream),
        shape_(shape),
        target_strides_(target_strides),
        source_strides_(source_strides),
        element_bytes_(static_cast<int64_t>(element_bytes)),
        row_dim_(shape.rank() - 1) {
    while (row_dim_ >= 0 && target_strides[row_dim_] == run_ && source_strides[row_dim_] == run_) {
      run_ *= shape[row_dim_--];
    }
  }

  void run(std::byte* target, const std::byte* source) const { copy(target, source, 0); }

 private:
  void copy(std::byte* target, const std::byte* source, int dim) const {
    if (dim >= row_dim_) {
      const bool is_one_run = row_dim_ < 0;
      copy_rows(stream_, {.src = source,
                          .dst = target,
                          .rows = is_one_run ? 1 : shape_[row_dim_],
                          .row_bytes = run_ * element_bytes_,
                          .src_stride_bytes = is_one_run ? 0 : source_strides_[row_dim_] * element_bytes_,
                          .dst_stride_bytes = is_one_run ? 0 : target_strides_[row_dim_] * element_bytes_});
      return;
    }
    for (int64_t i = 0; i < shape_[dim]; ++i) {
      copy(target + i * target_strides_[dim] * element_bytes_, source + i * source_strides_[dim] * element_bytes_,
           dim + 1);
    }
  }

  Stream& stream_;
  const Shape &shape_, &target_strides_, &source_strides_;
  int64_t element_bytes_, run_ = 1;
  int row_dim_;
};

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

void Tensor::copy_from(const Tensor& source) {
  TRIPTYCH_CHECK(source.shape_ == shape_ && source.dtype_ == dtype_, "copy of {} {} to {} {}",
                 dtype_name(source.dtype_), source.shape_.to_string(), dtype_name(dtype_), shape_.to_string());
  auto* to = static_cast<std::byte*>(raw());
  const auto* from = static_cast<const std::byte*>(source.raw());
  if (num_elements() == 0) return;
  if (is_contiguous() && source.is_contiguous()) {
    device().copy(to, from, num_bytes());
  } else {
    StridedCopy(device().stream(), shape_, strides_, source.strides_, dtype_bytes(dtype_)).run(to, from);
  }
}

void Tensor::fill_zero() {
  TRIPTYCH_CHECK(is_contiguous(), "fill_zero() of a strided view");
  device().zero(raw(), num_bytes());
}

void* Tensor::raw() const {
  wait();
  return storage_->buffer.data() + offset_ * static_cast<int64_t>(dtype_bytes(dtype_));
}

void Tensor::set_pending(std::function<void()> complete) {
  TRIPTYCH_CHECK(!storage_->pending, "a tensor can wait for one operation at a time");
  storage_->pending = std::move(complete);
}

void Tensor::wait() const {
  TRIPTYCH_CHECK(defined(), "an undefined tensor has no memory");
  if (storage_->pending) {
    const std::function<void()> complete = std::exchange(storage_->pending, {});
    complete();
  }
}

}  // namespace triptych
