#include "autograd/tied_gradients.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "autograd/whole_parameters.h"
#include "parallel/in_process_group.h"

// Parameters that several stages have: their gradients, summed over dp, are summed over the stages.

namespace triptych::test {
namespace {

struct TiedParameter {
  std::string name;
  std::vector<int> stages;  // that have it
};

// Stages make their tied parameters in different orders, so their buckets come in different orders too.
void check_tied(int pp, const std::vector<TiedParameter>& tied) {
  constexpr int kDp = 2;
  run_ranks(pp * kDp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.pp = pp, .dp = kDp}, device);
    const int stage = mesh.coordinate().pp;
    Owned owned;
    std::vector<const TiedParameter*> kinds;
    owned.push_back(make_parameter(device, "own", Shape{3}));
    kinds.push_back(nullptr);
    for (std::size_t k = 0; k < tied.size(); ++k) {
      const TiedParameter& one = stage % 2 == 0 ? tied[k] : tied[tied.size() - 1 - k];
      if (std::find(one.stages.begin(), one.stages.end(), stage) == one.stages.end()) continue;
      owned.push_back(make_parameter(device, one.name, Shape{5}));
      owned.back()->is_tied = true;
      kinds.push_back(&one);
    }
    AllReducer reducer(device, mesh, pointers(owned), 1);
    for (int step = 0; step < 3; ++step) {
      reducer.begin_step();
      for (int m = 0; m < 2; ++m) {
        // The first stage that has a tied parameter uses it once more, as a model that embeds and scores with it does.
        for (std::size_t i = 0; i < owned.size(); ++i) {
          const int num_uses = kinds[i] != nullptr && kinds[i]->stages[0] == stage ? 2 : 1;
          for (int u = 0; u < num_uses; ++u) use(*owned[i], kOverDp, world.rank(), 0, m, [&] { reducer.poll(); });
        }
      }
      reducer.finish();
      for (std::size_t i = 0; i < owned.size(); ++i) {
        const std::vector<int> stages = kinds[i] != nullptr ? kinds[i]->stages : std::vector{stage};
        EXPECT_EQ(owned[i]->is_first_copy, stages[0] == stage) << owned[i]->name;
        const std::vector<float> g = owned[i]->gradient.tensor().to_vector<float>();
        for (std::size_t e = 0; e < g.size(); ++e) {
          float expected = 0;
          for (const int s : stages) {
            const float num_uses = kinds[i] != nullptr && s == stages[0] ? 2 : 1;
            for (int dp = 0; dp < kDp; ++dp) {
              const int rank = mesh_world_rank(mesh.shape(), {.pp = s, .dp = dp});
              for (int m = 0; m < 2; ++m) expected += num_uses * summand(rank, 0, m, e);
            }
          }
          EXPECT_EQ(g[e], expected) << owned[i]->name << " on stage " << stage << " in step " << step;
        }
      }
    }
  });
}

TEST(TiedGradients, EveryStageGetsTheSumOverAllThatHaveTheParameter) {
  check_tied(2, {{"tokens", {0, 1}}});
  check_tied(2, {{"tokens", {0, 1}}, {"a", {0, 1}}, {"positions", {0, 1}}, {"of_one", {1}}});
  check_tied(3, {{"tokens", {0, 2}}, {"all", {0, 1, 2}}, {"late", {1, 2}}});
}

}  // namespace
}  // namespace triptych::test
