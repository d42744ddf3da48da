#pragma once

#include <oneapi/dnnl/dnnl.hpp>

// What oneDNN 3 (Debian 13, Ubuntu 24.04) makes in one step and oneDNN 2 (Debian 12) in two.

namespace triptych::kernels::cpu {

/// C = A B + bias. `bias` is null where there is none.
inline dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                                    const dnnl::memory::desc& b, const dnnl::memory::desc* bias,
                                                    const dnnl::memory::desc& c,
                                                    const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  if (bias == nullptr) return {engine, a, b, c, attributes};
  return {engine, a, b, *bias, c, attributes};
#else
  if (bias == nullptr) return {dnnl::matmul::desc(a, b, c), attributes, engine};
  return {dnnl::matmul::desc(a, b, *bias, c), attributes, engine};
#endif
}

/// The gradient of an inner product's weights, without a bias.
///   weights   as the forward pass would read them: it is never run
inline dnnl::inner_product_backward_weights::primitive_desc describe_weight_gradient(
    const dnnl::engine& engine, const dnnl::memory::desc& source, const dnnl::memory::desc& weights,
    const dnnl::memory::desc& d_weights, const dnnl::memory::desc& d_destination,
    const dnnl::primitive_attr& attributes) {
  using Forward = dnnl::inner_product_forward;
  using Backward = dnnl::inner_product_backward_weights;
#if DNNL_VERSION_MAJOR >= 3
  const Forward::primitive_desc forward(engine, dnnl::prop_kind::forward_training, source, weights, d_destination);
  return {engine, source, d_weights, d_destination, forward, attributes};
#else
  const Forward::primitive_desc forward(
      Forward::desc(dnnl::prop_kind::forward_training, source, weights, d_destination), engine);
  return {Backward::desc(source, d_weights, d_destination), attributes, engine, forward};
#endif
}

}  // namespace triptych::kernels::cpu
