#include "training/init_from.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/positions.h"
#include "support/tolerance.h"
#include "training/training_fixture.h"

namespace triptych::test {
namespace {

// A captioner with the two towers of kConfig.
const std::string kCaption = "task = \"caption\"\n" + kTowers + R"(
[run]
seed = 11
threads = 1
[parallel]
microbatches = 2
[training]
steps = 30
global_batch = 4
[optimizer]
learning_rate = 3e-3
[checkpoint]
every = 0
)";

using Strings = std::vector<std::string>;

class InitFrom : public Training {
 protected:
  // Trains two towers for three steps on `mesh`, in the folder "pre".
  void pretrain(const MeshShape& mesh, Strings overrides = {}) {
    overrides.insert(overrides.end(), {"training.stop_after=3", "model.image.pooling=\"mean\""});
    run(config("pre", mesh, overrides));
  }
  std::string pre() { return "init.from=\"" + (folder_ / "pre").string() + "\""; }

  // Of the captioner, only its last norm is trained, for one step: what else is saved is as the run began.
  RunConfig captioner(const std::string& dir, const MeshShape& mesh, Strings overrides) {
    overrides.insert(overrides.end(), {"training.stop_after=1", "optimizer.groups.0.pattern=\"text.output.norm.*\"",
                                       "optimizer.groups.1.pattern=\"*\"", "optimizer.groups.1.frozen=true"});
    return config(dir, mesh, overrides, kCaption);
  }
};

TEST_F(InitFrom, TakesWhatHasTheNamesOnAnyMeshAndTheRestBeginsAsWithout) {
  pretrain({.dp = 2, .tp = 2});
  const auto then = tensors(checkpoint("pre", "3"));
  run(captioner("scratch", {}, {}));
  const auto scratch = tensors(checkpoint("scratch", "1"));
  int turn = 0;
  for (const MeshShape& mesh : {MeshShape{.pp = 2}, MeshShape{.dp = 2, .tp = 2}, MeshShape{}}) {
    const std::string dir = fmt::format("caption{}", turn++);
    run(captioner(dir, mesh, {pre(), "parallel.sequence_parallel=true"}));
    const auto now = tensors(checkpoint(dir, "1"));
    ASSERT_EQ(now.size(), scratch.size());
    int num_taken = 0, num_new = 0;
    for (const auto& [name, values] : now) {
      if (name.starts_with("text.output.norm.")) continue;
      const auto found = then.find(name);
      EXPECT_EQ(values, found != then.end() ? found->second : scratch.at(name)) << name << " of " << dir;
      ++(found != then.end() ? num_taken : num_new);
    }
    // Of each block attention (4), feed-forward (4) and two norms (4); patches (2) and positions, tokens and positions.
    EXPECT_EQ(num_taken, 3 * 12 + 3 + 2);
    EXPECT_GT(num_new, 10) << "cross-attention";
    const RunState state = checkpoint(dir, "1").manifest().run;
    EXPECT_EQ(state.step, 1);
    EXPECT_EQ(get_uint64(state.random, "seed"), 11u);
    const std::string record = read_text_file(folder_ / dir / "init.json", 1 << 20);
    for (const char* part : {"\"step\": 3", "\"image.embed.positions\": \"image.embed.positions\"",
                             "text.blocks.0.cross_attention.q.weight", "text.head.projection.weight"}) {
      EXPECT_NE(record.find(part), std::string::npos) << part << " is not in\n" << record;
    }
  }
}

TEST_F(InitFrom, NamesAreMappedByPatterns) {
  pretrain({});
  const auto then = tensors(checkpoint("pre", "3"));
  run(captioner("run", {.pp = 2},
                {pre(), "init.map.0.old=\"text.blocks.0.*\"", "init.map.0.new=\"text.blocks.1.*\"",
                 "init.map.1.old=\"text.*\"", "init.map.1.new=\"\""}));
  const auto now = tensors(checkpoint("run", "1"));
  EXPECT_EQ(now.at("text.blocks.1.attention.qkv.weight"), then.at("text.blocks.0.attention.qkv.weight"));
  EXPECT_NE(now.at("text.blocks.0.attention.qkv.weight"), then.at("text.blocks.0.attention.qkv.weight"));
  EXPECT_NE(now.at("text.embed.tokens.weight"), then.at("text.embed.tokens.weight"));
  EXPECT_EQ(now.at("image.embed.patch.weight"), then.at("image.embed.patch.weight"));
}

TEST_F(InitFrom, OtherShapesAndNothingAtAllAreErrorsOnEveryRank) {
  pretrain({});
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.pp = 2}}) {
    expect_ended(captioner("run", mesh, {pre(), "model.image.feed_forward=28"}), {}, ErrorKind::kUser,
                 {"image.blocks.0.feed_forward.in.weight is [24, 16] in the checkpoint", "of the model [28, 16]"});
    expect_ended(
        captioner("run", mesh, {pre(), "model.image.size=20"}), {}, ErrorKind::kUser,
        {"image.embed.positions is [9, 16] in the checkpoint", "[25, 16]", "init.interpolate_positions = true"});
    expect_ended(captioner("run", mesh, {pre(), "init.map.0.old=\"*\"", "init.map.0.new=\"\""}), {}, ErrorKind::kUser,
                 {"must have a parameter of this model, found none"});
    expect_refused(captioner("run", mesh, {"init.from=\"" + (folder_ / "nowhere").string() + "\""}), {}, "nowhere");
    expect_refused(captioner("run", mesh, {pre(), "init.weights=\"ema\""}), {}, "holds no moving average");
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/checkpoints"));
}

TEST_F(InitFrom, PositionsAreResizedWhereThatIsAsked) {
  pretrain({.tp = 2}, {"parallel.sequence_parallel=true"});
  const auto then = tensors(checkpoint("pre", "3"));
  const std::vector<float> expected = interpolate_positions(
      then.at("image.embed.positions"), {.sequence = 9, .side = 3}, {.sequence = 25, .side = 5}, 16);
  int turn = 0;
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.pp = 2, .tp = 2}}) {
    const std::string dir = fmt::format("run{}", turn++);
    run(captioner(
        dir, mesh,
        {pre(), "model.image.size=20", "init.interpolate_positions=true", "parallel.sequence_parallel=true"}));
    const auto now = tensors(checkpoint(dir, "1"));
    EXPECT_EQ(now.at("image.embed.positions"), expected);
    EXPECT_EQ(now.at("image.embed.patch.weight"), then.at("image.embed.patch.weight"));
    const std::string record = read_text_file(folder_ / dir / "init.json", 1 << 20);
    EXPECT_NE(record.find("\"interpolated\": [\n  \"image.embed.positions\""), std::string::npos) << record;
  }
}

TEST_F(InitFrom, ARunThatGoesOnDoesNotReadItAgain) {
  pretrain({});
  RunConfig whole = config("whole", {}, {pre()}, kCaption);
  whole.training.stop_after = 4;
  run(whole);
  RunConfig half = config("halves", {}, {pre()}, kCaption);
  half.training.stop_after = 2;
  run(half);
  std::filesystem::remove_all(folder_ / "pre");
  half.training.stop_after = 4;
  run(half, {.resume = "latest"});
  expect_same_bits(metrics("whole"), metrics("halves"));
  EXPECT_EQ(tensors(checkpoint("whole", "4")), tensors(checkpoint("halves", "4")));
}

// The file is the run's: --overwrite takes it away, and somebody's of that name is not touched.
TEST_F(InitFrom, ItsRecordIsAFileOfTheRun) {
  pretrain({});
  RunConfig c = captioner("run", {}, {pre()});
  run(c);
  ASSERT_TRUE(std::filesystem::exists(folder_ / "run/init.json"));
  c = captioner("run", {}, {});
  run(c, {.overwrite = true});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/init.json"));
  write_file_atomically(folder_ / "run/init.json", "{\"mine\": 1}\n");
  expect_refused(c, {.overwrite = true}, "init.json, which no run of this program wrote");
}

}  // namespace
}  // namespace triptych::test
