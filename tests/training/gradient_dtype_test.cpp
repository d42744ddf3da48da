// Gradients that travel in bf16, through the whole engine: against one rank.

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/task_configs.h"
#include "training/verify.h"

namespace triptych::test {
namespace {

struct Case {
  MeshShape mesh;
  int zero, microbatches;
};

class GradientsInBf16 : public ::testing::TestWithParam<Case> {};

TEST_P(GradientsInBf16, AreThoseOfOneRankButForTheirRounding) {
  const Case& c = GetParam();
  RunConfig config = parse_run_config(config_of("contrastive", 0), "case", standard_tasks());
  config.parallel = {.mesh = c.mesh,
                     .microbatches = c.microbatches,
                     .sequence_parallel = c.mesh.tp > 1,
                     .zero = c.zero,
                     .bucket_mb = 0.003,  // many buckets
                     .gradient_dtype = "bf16"};
  run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
    const VerifyResult result = verify(config, world, RankPlace{});
    EXPECT_LT(result.loss_error, kBetweenMeshes);  // of a first step, before which no gradient came
    EXPECT_LT(result.worst_error, tolerance(DType::kBFloat16).summed) << result.worst_parameter;
    EXPECT_GT(result.worst_error, 1e-4) << "nothing was rounded";
  });
}

INSTANTIATE_TEST_SUITE_P(Meshes, GradientsInBf16,
                         ::testing::Values(Case{{.dp = 2}, 0, 2}, Case{{.dp = 4}, 0, 1}, Case{{.dp = 2, .tp = 2}, 1, 1},
                                           Case{{.dp = 4, .dp_near = 2}, 2, 1}, Case{{.pp = 2, .dp = 2}, 3, 2},
                                           Case{{.dp = 2, .cp = 2}, 0, 1}),
                         [](const auto& param) {
                           const Case& c = param.param;
                           return fmt::format("pp{}dp{}cp{}tp{}_zero{}", c.mesh.pp, c.mesh.dp, c.mesh.cp, c.mesh.tp,
                                              c.zero);
                         });

}  // namespace
}  // namespace triptych::test
