#include "ops/border_linear.h"

#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "ops/linear.h"
#include "ops/redistribute.h"
#include "parallel/in_process_group.h"
#include "support/layout_cases.h"

namespace triptych::test {
namespace {

// tests/nn holds blocks, whose parts these products begin and end, against doubles on every mesh; here is what no block
// does.

const Layout kStream = Layout().with(Axis::kTp, Placement::shard(1)), kInside;
const Layout kRowsOfWeight = Layout().with(Axis::kTp, Placement::shard(0));
const MeshShape kMesh{.tp = 2};
const Shape kX{3, 5, 4}, kWeight{6, 4}, kY{3, 5, 6};

struct Rank {
  Device device{1};
  Mesh mesh;
  explicit Rank(Group& world) : mesh(world, kMesh, device) {}

  // Integers, so that sums are exact.
  Tensor piece(const Shape& shape, uint64_t seed, const Layout& layout, const Layout& divided) {
    const GlobalTensor values(shape, seed);
    return Tensor::from<float>(device, local_shape(shape, layout, mesh),
                               values.piece<float>(layout, divided, kMesh, mesh.coordinate()));
  }
  Variable leaf(const Shape& shape, uint64_t seed, const Layout& layout) {
    return Variable::leaf(piece(shape, seed, layout, layout), shape, layout);
  }
};

// The gradient of x where what entered is read besides, or alone, as by what makes other projections of it.
std::vector<float> gradient_of_x(Rank& rank, bool in_one, bool uses_product) {
  const Variable x = rank.leaf(kX, 1, kStream), weight = rank.leaf(kWeight, 2, kRowsOfWeight);
  Entered entered;
  if (in_one) {
    entered = entering_linear(x, weight, Variable(), DType::kFloat32, {kInside, 2, rank.mesh});
  } else {
    entered.x = redistribute(x, kInside, rank.mesh);
    entered.y = linear(entered.x, weight, Variable(), DType::kFloat32);
  }
  const Layout partial = Layout().with(Axis::kTp, Placement::partial());
  const Layout columns = Layout().with(Axis::kTp, Placement::shard(2));
  std::vector<Variable> roots{entered.x};
  std::vector<Gradient> seeds{{rank.piece(kX, 3, partial, partial), partial}};
  if (uses_product) {
    roots.push_back(entered.y);
    seeds.push_back({rank.piece(kY, 4, columns, columns), columns});
  }
  backward(roots, seeds);
  EXPECT_EQ(x.gradient()->layout, kStream);
  return x.gradient()->tensor.to_vector<float>();
}

TEST(EnteringLinear, WhatEnteredMayBeReadBesidesAndAlone) {
  run_ranks(2, [](Group& world) {
    Rank rank(world);
    for (const bool uses_product : {true, false}) {
      EXPECT_EQ(gradient_of_x(rank, true, uses_product), gradient_of_x(rank, false, uses_product));
    }
  });
}

TEST(EnteringLinear, RefusesGradientsOfTwoLayouts) {
  run_ranks(2, [](Group& world) {
    Rank rank(world);
    const Variable x = rank.leaf(kX, 1, kStream), weight = rank.leaf(kWeight, 2, kRowsOfWeight);
    const Entered entered = entering_linear(x, weight, Variable(), DType::kFloat32, {kInside, 2, rank.mesh});
    const Layout columns = Layout().with(Axis::kTp, Placement::shard(2));
    const std::vector<Gradient> seeds{{rank.piece(kX, 3, kInside, kInside), kInside},
                                      {rank.piece(kY, 4, columns, columns), columns}};
    EXPECT_THROW(backward(std::vector<Variable>{entered.x, entered.y}, seeds), LayoutError);
  });
}

// Without an axis that shards the weight they are the operations that they are made of.
TEST(EnteringLinear, WhereNothingIsSentXIsWhatEnters) {
  run_ranks(2, [](Group& world) {
    Rank rank(world);
    const Variable x = rank.leaf(kX, 1, kInside), weight = rank.leaf(kWeight, 2, kInside);
    const Entered entered = entering_linear(x, weight, Variable(), DType::kFloat32, {kInside, 2, rank.mesh});
    EXPECT_EQ(entered.x.tensor().raw(), x.tensor().raw());
    EXPECT_EQ(entered.y.tensor().to_vector<float>(),
              linear(x, weight, Variable(), DType::kFloat32).tensor().to_vector<float>());
  });
}

}  // namespace
}  // namespace triptych::test
