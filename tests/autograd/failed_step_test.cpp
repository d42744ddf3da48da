#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "autograd/gradient_use.h"
#include "autograd/scatter_reducer.h"
#include "parallel/in_process_group.h"

// A step that fails while gradients are on their way, whose reducer is destroyed with them.

namespace triptych::test {
namespace {

struct Case {
  bool is_scattered;
  DType wire;
  MeshShape mesh;
};

class FailedStep : public ::testing::TestWithParam<Case> {};

// A late peer writes into the memory of all who take part: it must be there until then, which the address sanitizer
// sees, and so the destructor may not return earlier.
TEST_P(FailedStep, LeavesNoGradientsOnTheirWay) {
  const Case& c = GetParam();
  std::atomic<int> num_gone{0};
  run_ranks(c.mesh.dp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, c.mesh, device);
    Owned owned;
    for (int i = 0; i < 3; ++i) {
      auto p = std::make_unique<Parameter>("p" + std::to_string(i));
      p->global_shape = Shape{40};
      if (c.is_scattered) p->kept = split_further(p->layout, p->global_shape, Axis::kDp, mesh.shape());
      p->value = Tensor::zeros(device, DType::kFloat32, local_shape(p->global_shape, p->kept, mesh));
      p->compute = Tensor::zeros(device, DType::kFloat32, p->global_shape);
      owned.push_back(std::move(p));
    }
    std::unique_ptr<Reducer> reducer;  // each parameter is a bucket
    if (c.is_scattered) {
      reducer = std::make_unique<ScatterReducer>(device, mesh, pointers(owned), 1, false, c.wire);
    } else {
      reducer = std::make_unique<AllReducer>(device, mesh, pointers(owned), 1, c.wire);
    }
    const auto use_one = [&](int i) {
      const Layout layout = Layout().with(Axis::kDp, Placement::partial());
      use(*owned[static_cast<std::size_t>(i)], layout, world.rank(), i, 0, [&] { reducer->poll(); });
    };
    reducer->begin_step();
    for (const int i : {2, 1, 0}) use_one(i);
    reducer->finish();

    reducer->begin_step();
    const bool is_late = world.rank() == world.size() - 1;
    if (is_late) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      EXPECT_EQ(num_gone, 0) << "ranks whose buffers are gone, of an operation that is still to be done";
    }
    use_one(2);
    use_one(1);
    reducer.reset();
    owned.clear();
    ++num_gone;
  });
  EXPECT_EQ(num_gone, c.mesh.dp);
}

INSTANTIATE_TEST_SUITE_P(
    Reducers, FailedStep,
    ::testing::Values(Case{false, DType::kFloat32, {.dp = 2}}, Case{false, DType::kBFloat16, {.dp = 2}},
                      Case{false, DType::kBFloat16, {.dp = 3}}, Case{true, DType::kFloat32, {.dp = 2}},
                      Case{true, DType::kBFloat16, {.dp = 3}}, Case{true, DType::kFloat32, {.dp = 4, .dp_near = 2}},
                      Case{true, DType::kBFloat16, {.dp = 4, .dp_near = 2}}),
    [](const auto& param) {
      const Case& c = param.param;
      return fmt::format("{}_{}_dp{}_near{}", c.is_scattered ? "scattered" : "all_reduced", dtype_name(c.wire),
                         c.mesh.dp, c.mesh.num_near());
    });

}  // namespace
}  // namespace triptych::test
