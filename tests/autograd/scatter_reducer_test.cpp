#include "autograd/scatter_reducer.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/gradient_use.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

constexpr int kParameters = 6, kNeverReached = 2;

// p0 .. p5: vectors and matrices, some with fewer rows than ranks.
Owned make_parameters(Device& device, const Mesh& mesh) {
  Owned parameters;
  for (int i = 0; i < kParameters; ++i) {
    auto p = std::make_unique<Parameter>("p" + std::to_string(i));
    p->global_shape = i % 2 == 0 ? Shape{1 + 4 * i} : Shape{3, 5 + i};
    p->kept = on_mesh(split_further(p->layout, p->global_shape, Axis::kDp, mesh.shape()), mesh);
    p->value = Tensor::zeros(device, DType::kFloat32, local_shape(p->global_shape, p->kept, mesh));
    p->compute = Tensor::zeros(device, DType::kFloat32, p->global_shape);
    parameters.push_back(std::move(p));
  }
  return parameters;
}

struct Case {
  MeshShape mesh;
  AxisSet partial;
  int64_t bucket_bytes;
  bool is_dispersed;
};

class ScatterReducerTest : public ::testing::TestWithParam<Case> {};

// Every rank ends with its piece of the sum over the ranks of the axes that hold summands, over all microbatches.
TEST_P(ScatterReducerTest, LeavesEachRankItsPieceOfTheSum) {
  const Case& c = GetParam();
  run_ranks(c.mesh.dp * c.mesh.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, c.mesh, device);
    const Owned owned = make_parameters(device, mesh);
    ScatterReducer reducer(device, mesh, pointers(owned), c.bucket_bytes, c.is_dispersed);
    Layout layout;
    int summed = 1, first = 0;
    for (const Axis axis : c.partial) layout = layout.with(axis, Placement::partial());
    // Ranks of axes without summands have the same ones.
    for (const Axis axis : kAxes) {
      if (c.partial.contains(axis)) first = first * mesh.size(axis) + mesh.rank(axis), summed *= mesh.size(axis);
    }
    for (int step = 0; step < 3; ++step) {
      constexpr int kMicrobatches = 2;
      reducer.begin_step();
      for (int m = 0; m < kMicrobatches; ++m) {
        for (int i = kParameters - 1; i >= 0; --i) {
          if (i == kNeverReached) continue;
          use(*owned[static_cast<std::size_t>(i)], layout, first, i, m, [&] { reducer.poll(); });
        }
      }
      reducer.finish();
      for (int i = 0; i < kParameters; ++i) {
        const Parameter& p = *owned[static_cast<std::size_t>(i)];
        std::vector<float> sums(static_cast<std::size_t>(p.global_shape.num_elements()));
        for (std::size_t e = 0; e < sums.size(); ++e) {
          for (int r = 0; r < summed; ++r) {
            for (int m = 0; m < kMicrobatches && i != kNeverReached; ++m) {
              sums[e] += summand(r, i, m, e);
            }
          }
        }
        Tensor piece = Tensor::from<float>(device, p.global_shape, sums);
        Shape begin;
        const Shape shape = local_shape(p.global_shape, p.kept, mesh, &begin);
        for (int dim = 0; dim < shape.rank(); ++dim) piece = piece.slice(dim, begin[dim], shape[dim]);
        EXPECT_EQ(p.reduced.to_vector<float>(), piece.contiguous().to_vector<float>()) << p.name << " step " << step;
      }
    }
  });
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const bool is_dispersed : {false, true}) {
    for (const int64_t bytes : {int64_t{1}, int64_t{100}, int64_t{1} << 20}) {
      all.push_back({{.dp = 2}, Axis::kDp, bytes, is_dispersed});
      all.push_back({{.dp = 4}, Axis::kDp, bytes, is_dispersed});
      all.push_back({{.dp = 2, .tp = 2}, {Axis::kDp, Axis::kTp}, bytes, is_dispersed});
      all.push_back({{.dp = 4, .dp_near = 2}, Axis::kDp, bytes, is_dispersed});
      all.push_back({{.dp = 6, .dp_near = 3}, Axis::kDp, bytes, is_dispersed});
      all.push_back({{.dp = 4, .tp = 2, .dp_near = 2}, {Axis::kDp, Axis::kTp}, bytes, is_dispersed});
      all.push_back({{.dp = 2, .tp = 2}, Axis::kTp, bytes, is_dispersed});
      all.push_back({{.dp = 3}, {}, bytes, is_dispersed});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(MeshesAndBuckets, ScatterReducerTest, ::testing::ValuesIn(cases()), [](const auto& param) {
  const Case& c = param.param;
  std::string axes = c.partial.to_string();
  std::erase(axes, '+');
  return fmt::format("dp{}near{}tp{}_over{}_bytes{}{}", c.mesh.dp, c.mesh.num_near(), c.mesh.tp,
                     axes.empty() ? "none" : axes, c.bucket_bytes, c.is_dispersed ? "_dispersed" : "");
});

// Gradients in memory at most, beside those that are kept: all, or a few buckets, whichever the mode says.
TEST(ScatterReducerTest, DispersedGradientsAreNeverAllThere) {
  constexpr int64_t kRows = 64, kColumns = 256, kBytes = kRows * kColumns * 4;
  constexpr int kMany = 12, kRanks = 2;
  for (const bool is_dispersed : {false, true}) {
    run_ranks(kRanks, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, {.dp = kRanks}, device);
      Owned owned;
      for (int i = 0; i < kMany; ++i) {
        auto p = std::make_unique<Parameter>("p" + std::to_string(i));
        p->global_shape = Shape{kRows, kColumns};
        p->kept = split_further(p->layout, p->global_shape, Axis::kDp, mesh.shape());
        p->value = Tensor::zeros(device, DType::kFloat32, Shape{kRows / kRanks, kColumns});
        p->compute = Tensor::zeros(device, DType::kFloat32, p->global_shape);
        owned.push_back(std::move(p));
      }
      ScatterReducer reducer(device, mesh, pointers(owned), kBytes, is_dispersed);
      const Layout layout = Layout().with(Axis::kDp, Placement::partial());
      std::size_t most = 0;
      reducer.begin_step();
      for (int i = kMany - 1; i >= 0; --i) {
        use(*owned[static_cast<std::size_t>(i)], layout, world.rank(), i, 0, [&] { reducer.poll(); });
        most = std::max(most, device.memory().used_by_part[MemoryPart::kGradients]);
      }
      reducer.finish();
      const std::size_t kept = kMany * kBytes / kRanks;
      EXPECT_EQ(device.memory().used_by_part[MemoryPart::kGradients], kept);
      if (is_dispersed) {
        EXPECT_LT(most, kept + 6 * kBytes);
      } else {
        EXPECT_GE(most, std::size_t{kMany * kBytes});
      }
    });
  }
}

}  // namespace
}  // namespace triptych::test
