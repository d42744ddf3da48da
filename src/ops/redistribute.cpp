#include "ops/redistribute.h"

#include "autograd/kept.h"
#include "autograd/record.h"
#include "parallel/redistribute.h"

namespace triptych::ops {

Variable redistribute(const Variable& x, const Layout& to, Mesh& mesh) {
  const Layout target = on_mesh(to, mesh);
  const Layout from = x.layout(), wanted = from.of_gradient();
  Tensor y = redistribute(x.tensor(), x.global_shape(), from, target, mesh);
  const Variable result =
      record("redistribute", {x}, std::move(y), x.global_shape(), target,
             [wanted, global_shape = x.global_shape(), &mesh](const Gradient& dy, InputGradients& inputs) {
               inputs.add(0, redistribute(dy.tensor, global_shape, dy.layout, wanted, mesh), wanted);
             });
  const Kept again = kept_again(x);
  if (!again.defined()) return result;
  return made_again(result, Kept([again, global_shape = x.global_shape(), from, target, &mesh] {
                      return redistribute(again.tensor(), global_shape, from, target, mesh);
                    }));
}

}  // namespace triptych::ops
