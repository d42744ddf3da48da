#include "ops/redistribute.h"

#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "parallel/in_process_group.h"
#include "support/layout_cases.h"

namespace triptych::test {
namespace {

// The gradient of sum(w * redistribute(x)) is w, for every x: of every `stride`-th pair of layouts over `axes`. For
// every other pair the gradient comes as summands of w where the result is replicated, as from a region with sharded
// weights.
void check_gradients(const MeshShape& mesh_shape, AxisSet axes, const Shape& shape, std::size_t stride) {
  const std::vector<Layout> layouts = all_layouts(axes, shape.rank(), {ReduceOp::kSum});
  std::vector<std::pair<Layout, Layout>> pairs;
  for (const Layout& from : layouts) {
    for (const Layout& to : layouts) {
      bool is_refused = false;
      for (const Axis axis : to.partial_axes()) is_refused = is_refused || from[axis] != to[axis];
      if (!is_refused) pairs.push_back({from, to});
    }
  }
  run_ranks(mesh_shape.dp * mesh_shape.cp * mesh_shape.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, mesh_shape, device);
    for (std::size_t i = 0; i < pairs.size(); i += stride) {
      const auto& [from, to] = pairs[i];
      const GlobalTensor x_values(shape, i), w_values(shape, pairs.size() + i);
      // How w arrives: complete, or Partial on the axes on which the result is replicated.
      Layout arrives = to.of_gradient();
      if (i % 2 == 1) {
        for (const Axis axis : axes) {
          if (arrives[axis].is_replicate()) arrives = arrives.with(axis, Placement::partial());
        }
      }
      const auto piece = [&](const GlobalTensor& values, const Layout& layout, const Layout& divided) {
        return Tensor::from<float>(device, local_shape(shape, layout, mesh),
                                   values.piece<float>(layout, divided, mesh_shape, mesh.coordinate()));
      };
      const Variable x = Variable::leaf(piece(x_values, from, from), shape, from);
      const Variable y = redistribute(x, to, mesh);
      const std::vector<Gradient> seeds{{piece(w_values, arrives, arrives), arrives}};
      backward(std::vector<Variable>{y}, seeds);
      ASSERT_TRUE(x.gradient().has_value());
      const Layout complete = from.of_gradient();
      EXPECT_EQ(x.gradient()->layout, complete);
      EXPECT_EQ(x.gradient()->tensor.to_vector<float>(), piece(w_values, complete, arrives).to_vector<float>())
          << from.to_string() << " to " << to.to_string() << ", gradient " << arrives.to_string();
    }
  });
}

TEST(RedistributeOp, PassesTheGradientOn) {
  check_gradients({.dp = 2, .tp = 3}, {Axis::kDp, Axis::kTp}, Shape{5, 4}, 1);
  check_gradients({.dp = 2, .cp = 2, .tp = 2}, {Axis::kDp, Axis::kCp, Axis::kTp}, Shape{5, 3}, 17);
}

}  // namespace
}  // namespace triptych::test
