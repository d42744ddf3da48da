#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "autograd/backward.h"
#include "autograd/parameter.h"
#include "autograd/record.h"

// Parameters whose gradients are whole numbers, for tests of what completes them.

namespace triptych::test {

using Owned = std::vector<std::unique_ptr<Parameter>>;

inline std::vector<Parameter*> pointers(const Owned& parameters) {
  std::vector<Parameter*> result;
  for (const auto& p : parameters) result.push_back(p.get());
  return result;
}

// What `rank` adds to element `element` of parameter `i` for a microbatch: whole numbers, whose sums are exact.
inline float summand(int rank, int i, int microbatch, std::size_t element) {
  return static_cast<float>((rank + 1) * 1000 + i * 100 + microbatch * 10 + static_cast<int>(element % 10));
}

// The backward of an operation that uses the parameter and leaves its gradient laid out as `layout`.
inline void use(Parameter& parameter, const Layout& layout, int rank, int i, int microbatch,
                const std::function<void()>& poll) {
  Device& device = parameter.value.device();
  const Variable w = Variable::of(parameter, true);
  const Variable y = record("use", {w}, Tensor::zeros(device, DType::kFloat32, Shape{1}), Shape{1}, Layout(),
                            [&](const Gradient&, InputGradients& inputs) {
                              const GradientTarget g = inputs.target(0, device, layout);
                              float* out = g.tensor.data<float>();
                              for (std::size_t e = 0; e < static_cast<std::size_t>(g.tensor.num_elements()); ++e) {
                                out[e] = (g.assign ? 0 : out[e]) + summand(rank, i, microbatch, e);
                              }
                            });
  const Gradient seed{Tensor::zeros(device, DType::kFloat32, Shape{1}), Layout()};
  backward(std::span(&y, 1), std::span(&seed, 1), {.poll = poll});
}

}  // namespace triptych::test
