#include "ops/sum_of_squares.h"

#include <vector>

#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

const Shape kShape{6, 5, 4};

Tensor piece_of(const Tensor& whole, const Layout& layout, const Mesh& mesh) {
  Shape begin;
  const Shape local = local_shape(whole.shape(), layout, mesh, &begin);
  Tensor piece = whole;
  for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  return piece.contiguous();
}

// d(dy * sum x^2) / dx = 2 dy x, whatever shards x.
TEST(SumOfSquares, OfEveryLayoutIsThatOfTheWhole) {
  const std::vector<float> values = random_values("x", kShape.num_elements(), 3);
  constexpr double kSeed = 0.7;
  double expected = 0;
  std::vector<float> gradient;
  for (const float x : values) {
    expected += static_cast<double>(x) * x;
    gradient.push_back(static_cast<float>(2 * kSeed * x));
  }
  const Layout rows = Layout().with(Axis::kDp, Placement::shard(0));
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.tp = 3}, MeshShape{.dp = 2, .tp = 2}}) {
    for (const Layout& asked : {Layout(), rows, rows.with(Axis::kTp, Placement::shard(1))}) {
      SCOPED_TRACE(fmt::format("dp {} tp {}, {}", shape.dp, shape.tp, asked.to_string()));
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        const Layout layout = on_mesh(asked, mesh);
        const Variable x =
            Variable::leaf(piece_of(Tensor::from<float>(device, kShape, values), layout, mesh), kShape, layout);
        const Variable y = sum_of_squares(x);
        for (const Axis axis : kAxes) EXPECT_EQ(y.layout()[axis].is_partial(), layout[axis].is_shard());
        const double sum = redistribute(y.tensor(), Shape{1}, y.layout(), Layout(), mesh).item<double>();
        EXPECT_NEAR(sum, expected, kBetweenDoubles * expected);
        const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&kSeed, 1)), Layout()};
        backward(std::span(&y, 1), std::span(&seed, 1));
        EXPECT_EQ(x.gradient()->layout, layout);
        const Tensor piece = piece_of(Tensor::from<float>(device, kShape, gradient), layout, mesh);
        EXPECT_LT(relative_error(x.gradient()->tensor.to_vector<float>(), piece.to_vector<float>()),
                  tolerance(DType::kFloat32).local);
      });
    }
  }
}

TEST(SumOfSquares, OfSummandsIsRefused) {
  OneRank rank;
  const Variable x = Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, kShape), kShape,
                                        Layout().with(Axis::kTp, Placement::partial()));
  EXPECT_THROW(sum_of_squares(x), LayoutError);
}

}  // namespace
}  // namespace triptych::test
