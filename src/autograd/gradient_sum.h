#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych::autograd {

/// A gradient, or a summand of one: a layout's axes may be Partial.
struct Gradient {
  Tensor tensor;
  Layout layout;
};

/// Memory for a kernel to leave a gradient in: to be added to, or, if `assign`, written in full.
struct GradientTarget {
  Tensor tensor;  ///< float32
  bool assign = false;
};

/// A gradient as it is summed up, summand by summand: that of a leaf, or of a result of an operation. All summands have
/// one layout; what is Partial stays so. Summands of different types are summed in float32, and so are a parameter's
/// whatever their type. A sum that was given memory (a parameter's place in a bucket) stays there.
class GradientSum {
 public:
  GradientSum() = default;
  /// Of a parameter of that name.
  explicit GradientSum(std::string name) : name_(std::move(name)), part_(MemoryPart::kGradients) {}

  bool empty() const { return !layout_; }
  const Tensor& tensor() const { return tensor_; }
  /// Of a sum that is not empty.
  const Layout& layout() const;
  std::optional<Gradient> value() const;
  std::optional<Gradient> take();

  /// Adds a summand. May keep and later overwrite `summand` if nobody else holds its memory. Throws LayoutError, naming
  /// the operation, if the sum so far is laid out otherwise.
  void add(std::string_view operation, Tensor summand, const Layout& layout);
  /// Sets the sum to one that includes what was there.
  void replace(std::string_view operation, Tensor sum, const Layout& layout);
  /// Where a kernel may add its summand, of local shape `shape`, itself.
  GradientTarget target(std::string_view operation, Device& device, const Shape& shape, const Layout& layout);

  /// What has been summed up so far, of a sum that is not empty and has no memory that was given. It is empty then, and
  /// its uses go on counting.
  Gradient drain();
  /// Forgets the sum and its uses; memory that was given stays.
  void reset();
  /// From now on the sum is in `memory`, float32; what was summed up is moved there.
  void move_to(Tensor memory);
  /// An empty sum becomes zero.
  void complete();
  /// Nothing may be added from now on until the next reset(): it is being reduced.
  void close() { is_closed_ = true; }

  int num_uses() const { return num_uses_; }  ///< uses whose backward has run since the last reset()
  void count_use() {
    ++num_uses_;
    tell();
  }

  /// From now on `index` is added to `changed` whenever a summand comes or a use has run, so that who looks after many
  /// sums need not look at each; null ends it. `changed` must stay until then.
  void watch(std::vector<std::size_t>* changed, std::size_t index) {
    changed_ = changed;
    index_ = index;
  }

 private:
  void begin(std::string_view operation, const Layout& layout);
  void tell() {
    if (changed_ != nullptr) changed_->push_back(index_);
  }
  bool is_parameters() const { return part_ == MemoryPart::kGradients; }

  std::string name_;
  MemoryPart part_ = MemoryPart::kOther;
  Tensor tensor_;  // where there is memory that was given: that, even while the sum is empty
  std::optional<Layout> layout_;
  bool has_memory_ = false, is_closed_ = false;
  int num_uses_ = 0;
  std::vector<std::size_t>* changed_ = nullptr;
  std::size_t index_ = 0;
};

}  // namespace triptych::autograd
