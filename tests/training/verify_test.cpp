#include "training/verify.h"

#include <string>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"

namespace triptych {
namespace {

// configs/verify.toml's model: odd sizes, dropout, sequences that do not divide.
RunConfig small_config() {
  RunConfig config;
  config.run.seed = 7;
  config.model = {
      .image = {.size = 20, .patch = 4, .width = 48, .layers = 2, .heads = 4, .feed_forward = 112},
      .text =
          {.length = 13, .vocabulary = 98, .width = 40, .layers = 3, .heads = 2, .feed_forward = 90, .causal = false},
      .embedding = 24,
      .dropout = 0.1f};
  config.training.global_batch = 24;
  return config;
}

struct Case {
  MeshShape mesh;
  std::string schedule;
  int microbatches;
  bool sequence_parallel, recompute;
  ContrastiveConfig::Kind objective;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return fmt::format("pp{}dp{}tp{}_{}_m{}{}{}_{}", c.mesh.pp, c.mesh.dp, c.mesh.tp, c.schedule, c.microbatches,
                     c.sequence_parallel ? "_sp" : "", c.recompute ? "_recompute" : "",
                     c.objective == ContrastiveConfig::Kind::kInfoNce ? "infonce" : "sigmoid");
}

class ParallelEqualsSerial : public ::testing::TestWithParam<Case> {};

TEST_P(ParallelEqualsSerial, LossAndEveryGradient) {
  const Case& c = GetParam();
  RunConfig config = small_config();
  config.parallel = {.mesh = c.mesh,
                     .schedule = c.schedule,
                     .microbatches = c.microbatches,
                     .sequence_parallel = c.sequence_parallel,
                     .recompute = c.recompute,
                     .bucket_mb = 0.01};  // many buckets
  config.objective.kind = c.objective;
  run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.tp, [&](Group& world) {
    const VerifyResult result = verify(config, world, RankPlace{});
    EXPECT_LT(result.loss_error, 1e-5);
    EXPECT_LT(result.worst_error, 1e-5) << result.worst_parameter;
    EXPECT_GT(result.num_parameters, 70);
  });
}

// Every mesh of {1, 2}^3 under every schedule and number of microbatches; the other switches go through all their
// values in turn, so that each meets each mesh.
std::vector<Case> cases() {
  std::vector<Case> all;
  int turn = 0;
  for (int bits = 0; bits < 8; ++bits) {
    const MeshShape mesh{.pp = 1 + (bits & 1), .dp = 1 + (bits >> 1 & 1), .cp = 1, .tp = 1 + (bits >> 2 & 1)};
    for (const std::string& schedule : schedule_names()) {
      for (const int microbatches : {1, 2, 4}) {
        all.push_back({mesh, schedule, microbatches, turn % 2 == 1, turn / 2 % 2 == 1,
                       turn % 3 == 0 ? ContrastiveConfig::Kind::kSigmoid : ContrastiveConfig::Kind::kInfoNce});
        ++turn;
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Grid, ParallelEqualsSerial, ::testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace triptych
