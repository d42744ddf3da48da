// Gradients that travel in 16 bits.

#include <charconv>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "autograd/gradient_use.h"
#include "autograd/scatter_reducer.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

constexpr int kParameters = 5, kMicrobatches = 2;
constexpr int64_t kBucketBytes = 3000;  // several buckets

Owned make_parameters(Device& device, const Mesh& mesh, bool is_sharded) {
  Owned parameters;
  for (int i = 0; i < kParameters; ++i) {
    auto p = std::make_unique<Parameter>("p" + std::to_string(i));
    p->global_shape = Shape{12 * (i + 2), 13};
    if (is_sharded) p->kept = on_mesh(split_further(p->layout, p->global_shape, Axis::kDp, mesh.shape()), mesh);
    p->value = Tensor::zeros(device, DType::kFloat32, local_shape(p->global_shape, p->kept, mesh));
    p->compute = Tensor::zeros(device, DType::kFloat32, p->global_shape);
    parameters.push_back(std::move(p));
  }
  return parameters;
}

// Bytes that operations have moved through the rank.
int64_t bytes_of(const Trace& trace) {
  int64_t sum = 0, bytes = 0;
  for (const Trace::Span& span : trace.spans()) {
    if (span.track != Trace::Track::kInFlight) continue;
    std::from_chars(span.details.data(), span.details.data() + span.details.size(), bytes);
    sum += bytes;
  }
  return sum;
}

// A few steps, of the last of which the bytes come back.
template <typename MakeReducer>
int64_t bytes_of_steps(Mesh& mesh, const Owned& owned, const Layout& layout, int rank, const MakeReducer& make) {
  const std::unique_ptr<Reducer> reducer = make();
  Trace trace;
  mesh.set_trace(&trace);
  for (int step = 0; step < 3; ++step) {
    trace.start();
    reducer->begin_step();
    for (int m = 0; m < kMicrobatches; ++m) {
      for (int i = kParameters - 1; i >= 0; --i) {
        use(*owned[static_cast<std::size_t>(i)], layout, rank, i, m, [&] { reducer->poll(); });
      }
    }
    reducer->finish();
    trace.stop();
  }
  mesh.set_trace(nullptr);
  return bytes_of(trace);
}

float rounded(float value) {
  return static_cast<float>(BFloat16(value));
}

// What all of a rank's microbatches add up to.
float whole(int rank, int i, std::size_t element) {
  float sum = 0;
  for (int m = 0; m < kMicrobatches; ++m) sum += summand(rank, i, m, element);
  return sum;
}

class AllReducedInHalves : public ::testing::TestWithParam<int> {};

TEST_P(AllReducedInHalves, AreSumsInFloat32OfWhatIsRoundedOnTheWay) {
  run_ranks(GetParam(), [n = GetParam()](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = n}, device);
    const Layout layout = Layout().with(Axis::kDp, Placement::partial());
    std::vector<int64_t> bytes;
    for (const DType wire : {DType::kFloat32, DType::kBFloat16}) {
      const Owned owned = make_parameters(device, mesh, false);
      bytes.push_back(bytes_of_steps(mesh, owned, layout, world.rank(), [&] {
        return std::make_unique<AllReducer>(device, mesh, pointers(owned), kBucketBytes, wire);
      }));
      const bool is_rounded = wire == DType::kBFloat16;
      for (int i = 0; i < kParameters; ++i) {
        const std::vector<float> sums = owned[static_cast<std::size_t>(i)]->reduced.to_vector<float>();
        for (std::size_t e = 0; e < sums.size(); ++e) {
          float expected = 0;
          for (int r = 0; r < n; ++r) expected += is_rounded ? rounded(whole(r, i, e)) : whole(r, i, e);
          if (is_rounded && n > 2) expected = rounded(expected);  // a sum is sent to the others
          ASSERT_EQ(sums[e], expected) << "p" << i << " element " << e << " in " << dtype_name(wire);
        }
      }
    }
    EXPECT_GE(2 * bytes[1], bytes[0]);
    EXPECT_LE(2 * bytes[1], bytes[0] + bytes[0] / 50);  // pieces of a bucket are of one size
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReducedInHalves, ::testing::Values(2, 3, 4));

TEST(AllReducedInHalves, AreThoseOverDpAlone) {
  run_ranks(4, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .tp = 2}, device);
    const Owned owned = make_parameters(device, mesh, false);
    bytes_of_steps(mesh, owned, Layout().with(Axis::kTp, Placement::partial()), mesh.rank(Axis::kTp), [&] {
      return std::make_unique<AllReducer>(device, mesh, pointers(owned), kBucketBytes, DType::kBFloat16);
    });
    const std::vector<float> sums = owned[1]->reduced.to_vector<float>();
    for (std::size_t e = 0; e < sums.size(); ++e) ASSERT_EQ(sums[e], whole(0, 1, e) + whole(1, 1, e));
  });
}

struct Case {
  MeshShape mesh;
  int num_roundings;  // that an element goes through at most
  bool is_dispersed;
};

class ScatteredInHalves : public ::testing::TestWithParam<Case> {};

// All summands are positive, so every rounding moves a sum by no more than 2^-8 of it.
TEST_P(ScatteredInHalves, AreWithinTheRoundingsOfTheSum) {
  const Case& c = GetParam();
  run_ranks(c.mesh.dp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, c.mesh, device);
    const Layout layout = Layout().with(Axis::kDp, Placement::partial());
    std::vector<int64_t> bytes;
    for (const DType wire : {DType::kFloat32, DType::kBFloat16}) {
      const Owned owned = make_parameters(device, mesh, true);
      bytes.push_back(bytes_of_steps(mesh, owned, layout, world.rank(), [&] {
        return std::make_unique<ScatterReducer>(device, mesh, pointers(owned), kBucketBytes, c.is_dispersed, wire);
      }));
      const bool is_rounded = wire == DType::kBFloat16;
      double most = 0;
      for (int i = 0; i < kParameters; ++i) {
        const Parameter& p = *owned[static_cast<std::size_t>(i)];
        Shape begin;
        const Shape shape = local_shape(p.global_shape, p.kept, mesh, &begin);
        const std::vector<float> sums = p.reduced.to_vector<float>();
        for (std::size_t e = 0; e < sums.size(); ++e) {
          const std::size_t at = static_cast<std::size_t>(begin[0] * shape[1]) + e;
          float expected = 0;
          for (int r = 0; r < c.mesh.dp; ++r) expected += whole(r, i, at);
          most = std::max(most, std::abs(sums[e] / static_cast<double>(expected) - 1));
        }
      }
      EXPECT_LE(most, is_rounded ? c.num_roundings * 0x1.01p-8 : 0);
      EXPECT_EQ(most > 0, is_rounded);
    }
    EXPECT_GE(2 * bytes[1], bytes[0]);
    EXPECT_LE(2 * bytes[1], bytes[0] + bytes[0] / 50);
  });
}

INSTANTIATE_TEST_SUITE_P(Meshes, ScatteredInHalves,
                         ::testing::Values(Case{{.dp = 2}, 1, false}, Case{{.dp = 3}, 1, true},
                                           Case{{.dp = 4, .dp_near = 2}, 2, false},
                                           Case{{.dp = 6, .dp_near = 2}, 3, true}),
                         [](const auto& param) {
                           const Case& c = param.param;
                           return fmt::format("dp{}near{}{}", c.mesh.dp, c.mesh.num_near(),
                                              c.is_dispersed ? "_dispersed" : "");
                         });

}  // namespace
}  // namespace triptych::test
