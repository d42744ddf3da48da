#include "autograd/gradient_sum.h"

#include <utility>

#include "kernels/elementwise.h"

namespace triptych::autograd {
namespace {

// sum += summand, both contiguous and of one shape, dtypes as they are.
void add_to(const Tensor& sum, const Tensor& summand) {
  Tensor same = summand;
  Stream& stream = sum.device().stream();
  if (summand.dtype() != sum.dtype()) {
    same = Tensor::empty(sum.device(), sum.dtype(), sum.shape());
    cast(stream, summand.raw(), summand.dtype(), same.raw(), same.dtype(), same.num_elements());
  }
  add_into(stream, sum.raw(), same.raw(), sum.num_elements(), sum.dtype());
}

void assign(const Tensor& sum, const Tensor& value) {
  cast(sum.device().stream(), value.raw(), value.dtype(), sum.raw(), sum.dtype(), sum.num_elements());
}

// `tensor` in float32, in memory of its own.
Tensor float32_copy(const Tensor& tensor, MemoryPart part) {
  Tensor copy = Tensor::empty(tensor.device(), DType::kFloat32, tensor.shape(), part);
  assign(copy, tensor.contiguous());
  return copy;
}

bool may_be_overwritten(const Tensor& tensor) {
  return tensor.is_sole_owner() && tensor.is_contiguous();
}

}  // namespace

const Layout& GradientSum::layout() const {
  TRIPTYCH_CHECK(!empty(), "{} has no gradient", name_);
  return *layout_;
}

std::optional<Gradient> GradientSum::value() const {
  if (empty()) return std::nullopt;
  return Gradient{tensor_, *layout_};
}

std::optional<Gradient> GradientSum::take() {
  if (empty()) return std::nullopt;
  Gradient gradient{tensor_, *layout_};
  reset();
  return gradient;
}

Gradient GradientSum::drain() {
  TRIPTYCH_CHECK(!empty() && !has_memory_, "{} has no gradient to give away", name_);
  Gradient gradient{std::exchange(tensor_, Tensor()), *layout_};
  layout_.reset();
  return gradient;
}

// What every summand must meet.
void GradientSum::begin(std::string_view operation, const Layout& layout) {
  TRIPTYCH_CHECK(!is_closed_,
                 "{}: {} gets a summand of its gradient while that is being reduced; its uses differ from "
                 "those of the step before",
                 operation, name_);
  if (layout_ && !(*layout_ == layout)) {
    throw LayoutError(operation,
                      fmt::format("the gradients of one variable{} must have one layout, found {} and {}. "
                                  "Redistribute one of the uses",
                                  name_.empty() ? "" : " (" + name_ + ")", layout_->to_string(), layout.to_string()));
  }
  tell();
}

void GradientSum::add(std::string_view operation, Tensor summand, const Layout& layout) {
  begin(operation, layout);
  const bool first = empty();
  layout_ = layout;
  if (has_memory_) {
    TRIPTYCH_CHECK(summand.shape() == tensor_.shape(), "{}: a gradient {} for {} {}", operation,
                   summand.shape().to_string(), name_, tensor_.shape().to_string());
    const Tensor packed = summand.contiguous();
    return first ? assign(tensor_, packed) : add_to(tensor_, packed);
  }
  if (first) {
    const bool widen = is_parameters() && summand.dtype() != DType::kFloat32;
    tensor_ = widen ? float32_copy(summand, part_) : std::move(summand);
    return;
  }
  TRIPTYCH_CHECK(tensor_.shape() == summand.shape(), "{}: gradients {} and {} of one variable", operation,
                 tensor_.shape().to_string(), summand.shape().to_string());
  if (tensor_.dtype() != summand.dtype()) {
    if (tensor_.dtype() != DType::kFloat32) tensor_ = float32_copy(tensor_, part_);
    if (summand.dtype() != DType::kFloat32) summand = float32_copy(summand, part_);
  }
  Tensor target = std::exchange(tensor_, Tensor()), other = summand;
  if (!may_be_overwritten(target)) {
    if (summand = Tensor(); may_be_overwritten(other)) {
      std::swap(target, other);
    } else {
      target = target.clone();
    }
  }
  add_to(target, other.contiguous());
  tensor_ = std::move(target);
}

void GradientSum::replace(std::string_view operation, Tensor sum, const Layout& layout) {
  begin(operation, layout);
  if (has_memory_) {
    assign(tensor_, sum.contiguous());
  } else if (is_parameters() && sum.dtype() != DType::kFloat32) {
    tensor_ = float32_copy(sum, part_);
  } else {
    tensor_ = std::move(sum);
  }
  layout_ = layout;
}

GradientTarget GradientSum::target(std::string_view operation, Device& device, const Shape& shape,
                                   const Layout& layout) {
  begin(operation, layout);
  const bool first = empty();
  layout_ = layout;
  if (first && !has_memory_) tensor_ = Tensor::empty(device, DType::kFloat32, shape, part_);
  TRIPTYCH_CHECK(tensor_.shape() == shape, "{}: a gradient {} for {}", operation, shape.to_string(),
                 tensor_.shape().to_string());
  if (!first && !has_memory_ && (!may_be_overwritten(tensor_) || tensor_.dtype() != DType::kFloat32)) {
    tensor_ = float32_copy(tensor_, part_);
  }
  return {tensor_, first};
}

void GradientSum::reset() {
  layout_.reset();
  is_closed_ = false;
  num_uses_ = 0;
  if (!has_memory_) tensor_ = Tensor();
}

void GradientSum::move_to(Tensor memory) {
  if (!empty()) assign(memory, tensor_.contiguous());
  tensor_ = std::move(memory);
  has_memory_ = true;
}

void GradientSum::complete() {
  TRIPTYCH_CHECK(has_memory_, "{} has no memory for its gradient", name_);
  if (!empty()) return;
  tensor_.fill_zero();
  layout_ = Layout();
}

}  // namespace triptych::autograd
