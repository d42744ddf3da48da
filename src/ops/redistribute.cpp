#include "ops/redistribute.h"

#include "parallel/redistribute.h"

namespace triptych {

Variable redistribute(const Variable& x, const Layout& to, Mesh& mesh) {
  const Layout target = on_mesh(to, mesh);
  const Layout from = x.layout();
  Tensor y = redistribute(x.tensor(), x.global_shape(), from, target, mesh);
  return record("redistribute", {x}, std::move(y), x.global_shape(), target,
                [from, global_shape = x.global_shape(), &mesh](const Gradient& dy, InputGradients& inputs) {
                  const Layout wanted = from.of_gradient();
                  inputs.add(0, redistribute(dy.tensor, global_shape, dy.layout, wanted, mesh), wanted);
                });
}

}  // namespace triptych
