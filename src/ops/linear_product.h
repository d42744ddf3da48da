#pragma once

#include <functional>

#include "autograd/record.h"
#include "kernels/activation.h"
#include "ops/index_rule.h"

// What linear.cpp and border_linear.cpp share; nobody else includes it.

namespace triptych::ops {

/// A product of rows with a weight, as this rank holds them, and what the index rule says. Rows are all dims of x but
/// the last one, or of any range of its first dim.
struct LinearProduct {
  int64_t in, out;
  Shape y_shape;
  IndexRule::Applied rule;
};

/// y = x W^T (+ bias), as `linear` says of layouts.
LinearProduct linear_product(const Variable& x, const Variable& weight, const Variable& bias);
/// The same of an x of this local and global shape under this layout.
LinearProduct linear_product(const Shape& local, const Shape& global, const Layout& layout, const Variable& weight,
                             const Variable& bias);

/// A feed-forward layer's activation before its second product.
///   h   [..., I], or [..., 2, I] where the activation is gated
struct ActivatedProduct {
  LinearProduct product;
  Activation activation;
  bool gated;
  Shape a_shape;  // of f(h)

  /// f(h).
  Tensor activated(const Tensor& h) const;
};

/// y = f(h) W^T, as `activated_linear` says of layouts.
ActivatedProduct activated_product(const Variable& h, const Variable& weight, Activation activation);

/// y = x W^T (+ bias), both contiguous.
void multiply_by_weight(const LinearProduct& product, const Tensor& x, const Tensor& weight, const float* bias,
                        const Tensor& y);
/// dx = dy W.
void multiply_back(const LinearProduct& product, const Tensor& dy, const Tensor& weight, const Tensor& dx);
/// The gradients of the weight, input 1, and of the bias where the operation has one as input 2, from one reading of
/// dy, which is laid out as `layout`: work apart, as InputGradients has it.
void weights_apart(const LinearProduct& product, const Tensor& dy, const Tensor& x, const Layout& layout, bool has_bias,
                   InputGradients& in);
/// The same of an activated product's weight, and the gradient of h, if `da`, that of f(h), is defined.
Tensor activated_backward(const ActivatedProduct& activated, const Tensor& h, const Tensor& da, const Tensor& dy,
                          const Layout& layout, InputGradients& in);

/// y and the term of the weight's adapter, of whose A `product(a, dtype)` makes the product that y is of the weight.
Variable with_adapter(const Variable& y, const Variable& weight, DType inputs,
                      const std::function<Variable(const Variable& a, DType dtype)>& product);

}  // namespace triptych::ops
