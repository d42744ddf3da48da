#include <string>
#include <vector>

#include "support/tolerance.h"
#include "training/trained_model.h"
#include "training/training_fixture.h"

namespace triptych::test {
namespace {

using Tensors = std::map<std::string, std::vector<float>>;

class WeightAverages : public Training {
 protected:
  RunConfig averaged(const std::string& dir, const MeshShape& mesh, std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(),
                     {"optimizer.ema_decay=0.75", "checkpoint.every=1", "training.stop_after=6",
                      "optimizer.groups.0.pattern=\"text.embed.*\"", "optimizer.groups.0.frozen=true",
                      "optimizer.groups.1.pattern=\"image.embed.*\"", "optimizer.groups.1.frozen=true",
                      "optimizer.groups.1.thaw_step=2"});
    return config(dir, mesh, overrides);
  }
  Tensors at(const std::string& dir, int step) { return tensors(checkpoint(dir, std::to_string(step))); }
};

// Of two saves after one another: three quarters of the average that was, and one of the weights that are.
TEST_F(WeightAverages, FollowTheWeightsFromSaveToSave) {
  run(averaged("run", {.dp = 2, .tp = 2}));
  Tensors before = at("run", 1);
  for (int step = 2; step <= 6; ++step) {
    const Tensors now = at("run", step);
    int num_averages = 0;
    for (const auto& [name, average] : now) {
      if (!name.ends_with(".average")) continue;
      ++num_averages;
      const std::string parameter = name.substr(0, name.size() - 8);
      const std::vector<float>& weights = now.at(parameter);
      const auto then = before.find(name);
      // What thaws begins with what it was frozen at.
      const std::vector<float>& from = then != before.end() ? then->second : before.at(parameter);
      std::vector<double> expected;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        expected.push_back(0.75 * static_cast<double>(from[i]) + 0.25 * static_cast<double>(weights[i]));
      }
      EXPECT_LT(relative_error(average, expected), tolerance(DType::kFloat32).local) << name << " at " << step;
    }
    EXPECT_GT(num_averages, 40);
    EXPECT_FALSE(now.contains("text.embed.tokens.weight.average")) << "frozen";
    EXPECT_EQ(now.contains("image.embed.patch.weight.average"), step > 2);
    before = now;
  }
}

TEST_F(WeightAverages, HaveTheBitsOfARunThatNeverStopped) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.pp = 2, .tp = 2}}) {
    const std::string name = fmt::format("pp{}", mesh.pp);
    run(averaged(name + "whole", mesh));
    run(averaged(name + "halves", mesh, {"training.stop_after=3"}));
    run(averaged(name + "halves", mesh), {.resume = "latest"});
    EXPECT_EQ(at(name + "whole", 6), at(name + "halves", 6));
  }
}

TEST_F(WeightAverages, MayBeginWhereARunGoesOn) {
  run(averaged("run", {}, {"optimizer.ema_decay=0", "training.stop_after=3"}));
  EXPECT_FALSE(at("run", 3).contains("image.head.projection.weight.average"));
  expect_refused(averaged("run", {}), {.resume = "latest"}, "--allow-change optimizer.ema_decay");
  run(averaged("run", {}), {.resume = "latest", .allow_change = {"optimizer.ema_decay"}});
  const std::string name = "image.head.projection.weight";
  const Tensors then = at("run", 3), now = at("run", 4);
  std::vector<double> expected;
  for (std::size_t i = 0; i < now.at(name).size(); ++i) {
    expected.push_back(0.75 * static_cast<double>(then.at(name)[i]) + 0.25 * static_cast<double>(now.at(name)[i]));
  }
  EXPECT_LT(relative_error(now.at(name + ".average"), expected), tolerance(DType::kFloat32).local);
}

TEST_F(WeightAverages, AreTheModelWhereThatIsAsked) {
  run(averaged("run", {}));
  run(averaged("plain", {}, {"optimizer.ema_decay=0", "training.stop_after=1"}));
  const Tensors saved = at("run", 6);
  const MeshShape mesh{.pp = 2, .tp = 2};
  for (const bool ema : {false, true}) {
    const RunConfig c = averaged("run", mesh, {ema ? "evaluation.weights=\"ema\"" : "evaluation.weights=\"last\""});
    run_ranks(4, [&](Group& group) {
      ThreadWorld world(group);
      TrainedModel model(c, world, "6");
      for (const Parameter* p : model.session().store().all()) {
        const auto average = saved.find(p->name + ".average");
        const std::vector<float>& whole = ema && average != saved.end() ? average->second : saved.at(p->name);
        Tensor piece = Tensor::from<float>(p->value.device(), p->global_shape, whole);
        Shape begin;
        const Shape local = local_shape(p->global_shape, p->layout, model.session().mesh(), &begin);
        for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
        EXPECT_EQ(p->value.to_vector<float>(), piece.contiguous().to_vector<float>()) << p->name;
      }
    });
  }
  const std::unique_ptr<Group> group = make_self_group("one");
  ThreadWorld world(*group);
  try {
    TrainedModel(averaged("plain", {}, {"evaluation.weights=\"ema\""}), world, "1");
    ADD_FAILURE() << "there are no averages";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUser);
    EXPECT_NE(std::string(error.what()).find("holds no moving average"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace triptych::test
