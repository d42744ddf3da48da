#include "ops/redistribute.h"

#include "autograd/record.h"
#include "parallel/redistribute.h"

namespace triptych::ops {

Variable redistribute(const Variable& x, const Layout& to, Mesh& mesh) {
  const Layout target = on_mesh(to, mesh);
  const Layout from = x.layout(), wanted = from.of_gradient();
  Tensor y = redistribute(x.tensor(), x.global_shape(), from, target, mesh);
  return record("redistribute", {x}, std::move(y), x.global_shape(), target,
                [wanted, global_shape = x.global_shape(), &mesh](const Gradient& dy, InputGradients& inputs) {
                  inputs.add(0, redistribute(dy.tensor, global_shape, dy.layout, wanted, mesh), wanted);
                });
}

}  // namespace triptych::ops
