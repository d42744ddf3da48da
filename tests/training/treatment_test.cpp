#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"
#include "training/step.h"
#include "training/task_configs.h"

namespace triptych::test {
namespace {

const std::vector<MeshShape> kMeshes{{}, {.pp = 2}, {.dp = 2, .tp = 2}, {.pp = 2, .tp = 2}, {.pp = 4}};

RunConfig config_with(const std::string& task, const std::string& more, const MeshShape& mesh) {
  RunConfig config = parse_run_config(config_of(task, 0) + more, "case", standard_tasks());
  config.parallel.mesh = mesh;
  config.parallel.microbatches = 2;
  return config;
}

// Adam's first update is the learning rate in size, whatever the gradient: so it tells the rate of every parameter.
TEST(Treatment, EveryRankTrainsItsParametersAtTheirRates) {
  const std::string more = R"(
[optimizer]
learning_rate = 0.01
weight_decay = 0.0
layer_decay = 0.5
[[optimizer.groups]]
pattern = "*.norm.*"
learning_rate_scale = 8.0
[[optimizer.groups]]
pattern = "text.*"
learning_rate_scale = 3.0
)";
  for (const MeshShape& mesh : kMeshes) {
    run_ranks(mesh.pp * mesh.dp * mesh.tp, [&](Group& world) {
      const RunConfig config = config_with("contrastive", more, mesh);
      Session session(config, world, RankPlace{});
      AdamW optimizer(session.device(), session.store().all(), config.adamw, session.treatments());
      std::map<std::string, std::vector<float>> before;
      for (const Parameter* p : session.store().all()) before[p->name] = p->value.to_vector<float>();
      TrainingStep steps(session, optimizer);
      const Fields data = synthetic_fields(session, config);
      steps.run(data.cut(config.parallel.microbatches), 0, config.learning_rate.peak);
      for (const Parameter* p : session.store().all()) {
        const std::vector<float> now = p->value.to_vector<float>();
        double most = 0;
        for (std::size_t i = 0; i < now.size(); ++i) {
          most = std::max(most, std::abs(static_cast<double>(now[i]) - before[p->name][i]));
        }
        // Blocks below the top: 2 of the image and 3 of the text, with an embedding below and a head above them.
        const std::string& name = p->name;
        double depth = name.starts_with("image.embed") ? 3 : name.starts_with("text.embed") ? 4 : 0;
        for (const auto& [tower, layers] : {std::pair{"image", 2}, std::pair{"text", 3}}) {
          for (int i = 0; i < layers; ++i) {
            if (name.starts_with(fmt::format("{}.blocks.{}.", tower, i))) depth = layers - i;
          }
        }
        const bool is_norm = name.find(".norm.") != std::string::npos;
        const double scale = is_norm ? 8 : name.starts_with("text.") ? 3 : 1;
        const double expected = 0.01 * scale * std::pow(0.5, depth);
        EXPECT_NEAR(most, expected, 0.01 * expected) << name << " on rank " << world.rank();
      }
    });
  }
}

TEST(Treatment, APatternOfNoParameterEndsEveryRankAlike) {
  const std::string more = "\n[[optimizer.groups]]\npattern = \"text.block.*\"\n";
  for (const MeshShape& mesh : kMeshes) {
    run_ranks(mesh.pp * mesh.dp * mesh.tp, [&](Group& world) {
      try {
        Session(config_with("contrastive", more, mesh), world, RankPlace{});
        ADD_FAILURE() << "it was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kUser);
        EXPECT_NE(std::string(error.what()).find("Did you mean `text.blocks.*`?"), std::string::npos) << error.what();
      }
    });
  }
}

}  // namespace
}  // namespace triptych::test
