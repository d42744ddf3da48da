#include "training/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "training/trained_model.h"
#include "training/training_fixture.h"

namespace triptych::test {
namespace {

// A node that has an older copy of the data, or another tokenizer, under the same path: its ranks' configs are equal.
TEST_F(Training, RanksThatSeeOtherDataOrTokenizersAreFoundBeforeTheFirstStep) {
  std::filesystem::copy(data_set(), folder_ / "copy");
  std::filesystem::copy(data_set(), folder_ / "other_tokenizer");
  std::filesystem::remove(folder_ / "other_tokenizer/tokenizer.model");
  const auto data = std::make_shared<const Dataset>(Dataset::open(data_set()));
  write_file_atomically(folder_ / "other_tokenizer/tokenizer.model",
                        train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                        {.vocabulary = kVocabulary, .model = "bpe", .character_coverage = 1}));
  make_data_set(folder_ / "older", 23, [&](uint64_t i) {  // the same captions, another picture
    return SmallSample{encode_png(20, 17, std::vector<uint8_t>(20 * 17 * 3, static_cast<uint8_t>(i))), {"a", "b"}};
  });
  std::filesystem::copy(data_set() / "tokenizer.model", folder_ / "older/tokenizer.model");
  const auto on_ranks = [&](const std::string& theirs) {
    std::vector<std::string> errors(3);
    const RunConfig c = config("ranks", {.dp = 3}, {"training.global_batch=6"});
    run_ranks(3, [&](Group& group) {
      RunConfig mine = c;
      if (group.rank() == 1) mine.data.path = (folder_ / theirs).string();
      mine.training.stop_after = 1;
      ThreadWorld world(group);
      try {
        train(mine, world, {.overwrite = true});
      } catch (const AgreedError& error) {
        errors[static_cast<std::size_t>(group.rank())] = error.what();
      }
    });
    EXPECT_EQ(errors, std::vector<std::string>(3, errors[0]));
    return errors[0];
  };
  EXPECT_EQ(on_ranks("copy"), "") << "data of the same content are the same";
  const std::string tokenizer = on_ranks("other_tokenizer"), samples = on_ranks("older");
  EXPECT_NE(tokenizer.find("the same tokenizer (hash): ranks 0, 2 on here have "), std::string::npos) << tokenizer;
  EXPECT_NE(tokenizer.find(", rank 1 on here has "), std::string::npos) << tokenizer;
  EXPECT_EQ(tokenizer.find("samples"), std::string::npos) << tokenizer;
  EXPECT_NE(samples.find("the same samples (hash): ranks 0, 2 on here have "), std::string::npos) << samples;
}

TEST_F(Training, OtherDataOfTheSameSizeAreRefusedAndTheSameElsewhereAreNot) {
  RunConfig c = config("run");
  c.training.stop_after = 2;
  run(c);
  make_data_set(folder_ / "other", 23, [&](uint64_t i) {
    return SmallSample{encode_png(20, 17, std::vector<uint8_t>(20 * 17 * 3, static_cast<uint8_t>(i))), {"a", "b"}};
  });
  std::filesystem::copy(data_set(), folder_ / "copy");
  c.training.stop_after = 3;
  RunConfig elsewhere = c;
  elsewhere.data.path = (folder_ / "other").string();
  expect_refused(elsewhere, {.resume = "latest"}, "learned from another data set");
  EXPECT_EQ(metrics("run").size(), 2u);
  elsewhere.data.path = (folder_ / "copy").string();
  run(elsewhere, {.resume = "latest"});
  EXPECT_EQ(metrics("run").size(), 3u);
}

TEST_F(Training, AutoTakesTheLastSoundCheckpointOnAllRanksOrBegins) {
  RunConfig c = config("run", {.dp = 2}, {"checkpoint.every=1"});
  const TrainingRequest request{.resume = "auto"};
  c.training.stop_after = 3;
  run(c, request);  // nothing is there: a new run
  const std::vector<StepMetrics> first = metrics("run");
  ASSERT_EQ(first.size(), 3u);
  const auto damage = [&](const std::string& step) {
    const std::filesystem::path file = folder_ / "run/checkpoints" / step / "rank_00001.safetensors";
    std::string bytes = read_text_file(file, 1 << 24);
    bytes[bytes.size() / 2] ^= 1;
    write_file_atomically(file, bytes);
  };
  damage("step_00000003");
  c.training.stop_after = 4;
  run(c, request);  // from step 2
  EXPECT_EQ(checkpoint("run", "latest").manifest().run.step, 4);
  checkpoint("run", "3").verify();
  std::vector<StepMetrics> again = metrics("run");
  ASSERT_EQ(again.size(), 4u);
  again.pop_back();
  expect_same_bits(first, again);
  for (const char* step : {"step_00000001", "step_00000002", "step_00000003", "step_00000004"}) damage(step);
  try {
    run(c, request);
    ADD_FAILURE() << "a new run must not replace one whose checkpoints are damaged";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kWorld) << error.what();
    EXPECT_NE(std::string(error.what()).find("step_00000002/rank_00001.safetensors"), std::string::npos)
        << error.what();
  }
}

TEST_F(Training, AStepBeyondTheEndIsAnErrorAndTheEndIsComplete) {
  RunConfig c = config("run");
  c.training.stop_after = 4;
  c.checkpoint.every = 2;
  run(c);
  const auto files = [&] {
    std::map<std::string, std::filesystem::file_time_type> times;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "run")) {
      if (entry.is_regular_file()) times[entry.path().filename()] = entry.last_write_time();
    }
    return times;
  };
  const auto before = files();
  run(c, {.resume = "latest"});
  EXPECT_EQ(files(), before) << "nothing is left to do, nothing is written";
  // As a last save leaves it that is killed before it could name itself.
  const std::filesystem::path latest = folder_ / "run" / "checkpoints" / "latest";
  std::ofstream(latest) << "step_00000002\n";
  run(c, {.resume = "latest"});
  EXPECT_EQ(read_text_file(latest, 100), "step_00000004\n");
  c.training.stop_after = 3;
  expect_refused(c, {.resume = "latest"}, "is at step 4, beyond the 3 where the run is to stop");
  EXPECT_EQ(files(), before);
}

class ResumedTraining : public Training, public ::testing::WithParamInterface<MeshShape> {};

TEST_P(ResumedTraining, HasTheBitsOfARunThatNeverStopped) {
  run(config("whole", GetParam()));
  RunConfig half = config("halves", GetParam());
  half.training.stop_after = 10;
  run(half);
  EXPECT_EQ(list_steps(folder_ / "halves/checkpoints"), std::vector<int64_t>{10});
  half.training.stop_after = 0;
  run(half, {.resume = "latest"});
  const std::vector<StepMetrics> whole = metrics("whole");
  ASSERT_EQ(whole.size(), 20u);
  expect_same_bits(whole, metrics("halves"));
  const auto weights = tensors(checkpoint("whole", "20"));
  EXPECT_EQ(weights, tensors(checkpoint("halves", "20")));
  EXPECT_LT(whole.back().loss, whole.front().loss) << "it learns something";
  // Back to the middle of a run that had gone on: what came after it is replaced by the same.
  run(config("whole", GetParam()), {.resume = "10"});
  expect_same_bits(whole, metrics("whole"));
  EXPECT_EQ(weights, tensors(checkpoint("whole", "20")));
}

INSTANTIATE_TEST_SUITE_P(Meshes, ResumedTraining,
                         ::testing::Values(MeshShape{}, MeshShape{.dp = 2}, MeshShape{.pp = 2, .tp = 2},
                                           MeshShape{.cp = 2}),
                         [](const auto& param) {
                           const MeshShape& mesh = param.param;
                           return fmt::format("pp{}dp{}cp{}tp{}", mesh.pp, mesh.dp, mesh.cp, mesh.tp);
                         });

TEST_F(Training, GoesOnOnAnotherMesh) {
  run(config("one"));
  const std::vector<StepMetrics> expected = metrics("one");
  for (const MeshShape& mesh : {MeshShape{.tp = 2}, MeshShape{.pp = 2, .dp = 2}, MeshShape{.cp = 2, .tp = 2}}) {
    const std::string dir = fmt::format("pp{}dp{}cp{}tp{}", mesh.pp, mesh.dp, mesh.cp, mesh.tp);
    std::filesystem::create_directories(folder_ / dir);
    std::filesystem::copy(folder_ / "one", folder_ / dir, std::filesystem::copy_options::recursive);
    run(config(dir, mesh), {.resume = "10"});
    const std::vector<StepMetrics> found = metrics(dir);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, expected[i].loss, kBetweenMeshes * expected[i].loss)
          << dir << " step " << found[i].step;
    }
  }
}

TEST_F(Training, GoesOnWithoutTheRanksThatSharedOutItsSequences) {
  run(config("one"));
  run(config("shared", {.cp = 3}, {"training.stop_after=10"}));
  run(config("shared"), {.resume = "latest"});
  const std::vector<StepMetrics> expected = metrics("one"), found = metrics("shared");
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].loss, expected[i].loss, kBetweenMeshes * expected[i].loss) << "step " << found[i].step;
  }
}

// The image tower is frozen until step 6, the text's embedding for good, its head, on the last stage, until step 4.
TEST_F(Training, WhatThawsLearnsAlikeOnEveryMeshAndWhereverARunStopped) {
  const auto frozen = [&](const std::string& dir, const MeshShape& mesh) {
    return config(dir, mesh,
                  {"checkpoint.every=3", "training.stop_after=12", "optimizer.groups.0.pattern=\"image.*\"",
                   "optimizer.groups.0.frozen=true", "optimizer.groups.0.thaw_step=6",
                   "optimizer.groups.1.pattern=\"text.embed.*\"", "optimizer.groups.1.frozen=true",
                   "optimizer.groups.2.pattern=\"text.head.*\"", "optimizer.groups.2.frozen=true",
                   "optimizer.groups.2.thaw_step=4"});
  };
  run(frozen("whole", {}));
  const auto at = [&](const char* step) { return tensors(checkpoint("whole", step)); };
  const auto early = at("3"), before = at("6"), after = at("9"), last = at("12");
  const std::string image = "image.blocks.0.attention.qkv.weight", table = "text.embed.tokens.weight";
  for (const std::string& name : {image, table}) {
    EXPECT_TRUE(early.contains(name)) << "frozen parameters are saved";
    EXPECT_FALSE(early.contains(name + ".first_moment"));
    EXPECT_EQ(early.at(name), before.at(name));
  }
  EXPECT_FALSE(before.contains(image + ".second_moment")) << "step 6 is done, and it was frozen in it";
  EXPECT_TRUE(after.contains(image + ".second_moment"));
  EXPECT_NE(after.at(image), before.at(image));
  EXPECT_FALSE(last.contains(table + ".first_moment"));
  EXPECT_EQ(last.at(table), early.at(table));
  EXPECT_NE(early.at("text.head.projection.weight"), before.at("text.head.projection.weight"));
  const RunState state = checkpoint("whole", "12").manifest().run;
  EXPECT_EQ(get_uint64(state.extra, "updates_since_thaw_at_6"), 6u);
  EXPECT_EQ(get_uint64(state.extra, "updates_since_thaw_at_4"), 8u);

  for (const char* step : {"3", "6", "9"}) {
    const std::string dir = fmt::format("from_{}", step);
    run(frozen(dir, {}), {.resume = (folder_ / "whole/checkpoints" / fmt::format("step_0000000{}", step)).string()});
    EXPECT_EQ(tensors(checkpoint(dir, "12")), last) << dir;
  }
  const std::vector<StepMetrics> expected = metrics("whole");
  for (const MeshShape& mesh : fewer_if_sanitized<MeshShape>({{.dp = 2, .tp = 2}, {.pp = 2, .dp = 2}, {.pp = 4}}, 2)) {
    const std::string dir = fmt::format("pp{}dp{}tp{}", mesh.pp, mesh.dp, mesh.tp);
    run(frozen(dir, mesh));
    run(frozen(dir, {}), {.resume = "9"});  // the rest on one rank
    const std::vector<StepMetrics> found = metrics(dir);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, expected[i].loss, kBetweenMeshes * expected[i].loss) << dir << " step " << i + 1;
    }
    EXPECT_EQ(tensors(checkpoint(dir, "12")).size(), last.size());
  }
  // What was frozen, and until when, is what a checkpoint's moments go by.
  expect_refused(config("whole", {}, {"checkpoint.every=3"}), {.resume = "6"}, "optimizer.groups.0.frozen = true");
}

TEST_F(Training, ASecondRunInAFolderNeedsOverwrite) {
  RunConfig c = config("run");
  c.training.stop_after = 3;
  run(c);
  const std::vector<StepMetrics> before = metrics("run");
  expect_refused(c, {}, "--overwrite");
  expect_same_bits(before, metrics("run"));
  c.training.stop_after = 2;
  run(c, {.overwrite = true});
  EXPECT_EQ(metrics("run").size(), 2u) << "the lines of the replaced run are gone";
  EXPECT_EQ(checkpoint("run", "latest").manifest().run.step, 2);
}

TEST_F(Training, ResumingNeedsTheSameModelOrderAndSeed) {
  RunConfig c = config("run");
  c.training.stop_after = 1;
  run(c);
  const TrainingRequest resume{.resume = "latest"};
  expect_refused(config("run", {}, {"model.text.layers=1"}), resume, "another model");
  RunConfig other = c;
  other.training.global_batch = 4;
  expect_refused(other, resume, "training.global_batch = 8, the config says 4");
  other = c;
  other.run.seed = 6;
  expect_refused(other, resume, "run.seed = 5, the config says 6");
  expect_refused(c, {.resume = "7"}, "7");
  // A refusal on all ranks of a mesh, none of which waits for another.
  expect_refused(config("run", {.dp = 2}, {"model.image.width=32"}), resume, "another model");
  EXPECT_EQ(metrics("run").size(), 1u);
}

TEST_F(Training, NeedsADataSetATokenizerAndRowsForIt) {
  RunConfig c = config("run");
  c.data.path = "";
  expect_refused(c, {}, "data.path");
  c.data.path = (folder_ / "nowhere").string();
  expect_refused(c, {}, "nowhere");
  c = config("run");
  c.data.tokenizer = (folder_ / "absent.model").string();
  expect_refused(c, {}, "absent.model");
  expect_refused(config("run", {}, {"model.text.vocabulary=8"}), {}, "8");
  RunConfig classes = parse_run_config("task = \"classify\"", "classes", standard_tasks());
  classes.run.dir = c.run.dir;
  classes.data.path = c.data.path;
  expect_refused(classes, {}, "classification needs labels; this data set has none");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

// Parameters of 1e25, after one step, give losses that are no numbers: from there nothing may be updated, on any rank.
TEST_F(Training, AStepWithoutFiniteNumbersChangesNothingAndIsCounted) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.dp = 2, .tp = 2}}) {
    const std::string dir = fmt::format("dp{}", mesh.dp);
    RunConfig c = config(dir, mesh, kLost);
    c.training.max_skipped_steps = 4;
    c.training.stop_after = 1;
    run(c);
    c.training.stop_after = 4;
    c.checkpoint.keep = 1;
    run(c, {.resume = "latest"});
    const std::vector<StepMetrics> lines = metrics(dir);
    ASSERT_EQ(lines.size(), 4u);
    EXPECT_TRUE(std::isfinite(lines[0].loss));
    for (std::size_t i = 1; i < 4; ++i) {
      EXPECT_FALSE(std::isfinite(lines[i].loss));
      EXPECT_EQ(lines[i].skipped, static_cast<int64_t>(i));
    }
    EXPECT_EQ(list_steps(folder_ / dir / "checkpoints"), (std::vector<int64_t>{1, 4})) << "nothing good gives way";
    EXPECT_EQ(checkpoint(dir, "4").manifest().run.skipped_steps, 3);
    EXPECT_EQ(tensors(checkpoint(dir, "1")), tensors(checkpoint(dir, "4")));

    c.training.stop_after = 5;
    run(c, {.resume = "4"});
    EXPECT_EQ(metrics(dir).back().skipped, 4) << "the count goes on";
  }
}

TEST_F(Training, EndsWhereNothingIsLearntAnyMore) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.pp = 2}}) {
    RunConfig c = config(fmt::format("pp{}dp{}", mesh.pp, mesh.dp), mesh, kLost);
    c.training.max_skipped_steps = 4;
    c.checkpoint.every = 1;
    c.checkpoint.keep = 1;
    expect_ended(c, {}, ErrorKind::kWorld, {"no step since step 2 changed anything (loss", "--resume 1"});
    EXPECT_EQ(metrics(fmt::format("pp{}dp{}", mesh.pp, mesh.dp)).back().step, 5);
    EXPECT_EQ(list_steps(std::filesystem::path(c.run.dir) / "checkpoints"), std::vector<int64_t>{1});
  }
}

// A decay of 1 - 1e38 * 1e10 is not a float: the first update makes parameters infinite.
TEST_F(Training, ParametersThatAreNotFiniteAreNeverSaved) {
  RunConfig c = config("run");
  c.training.stop_after = 3;
  run(c);
  c = config("run", {.dp = 2}, {"optimizer.learning_rate=1e37", "optimizer.weight_decay=1e10"});
  c.checkpoint.every = 1;
  c.checkpoint.keep = 1;
  const TrainingRequest request{.resume = "latest",
                                .allow_change = {"optimizer.learning_rate", "optimizer.weight_decay"}};
  expect_ended(c, request, ErrorKind::kWorld, {"after step 4", "holds an infinity or NaN", "--resume 3"});
  EXPECT_EQ(list_steps(folder_ / "run/checkpoints"), std::vector<int64_t>{3});
}

TEST_F(Training, ACheckpointThatIsNotFiniteIsRefused) {
  RunConfig c = config("run");
  c.training.stop_after = 2;
  run(c);
  CheckpointReader reader = checkpoint("run", "2");
  auto values = tensors(checkpoint("run", "2"));
  values.at("image.blocks.0.feed_forward.in.weight")[5] = std::numeric_limits<float>::quiet_NaN();
  std::vector<TensorPiece> pieces;
  for (const auto& [name, tensor] : reader.manifest().tensors) {
    TensorPiece piece;
    static_cast<TensorBox&>(piece) = whole_tensor(name, tensor.dtype, tensor.shape);
    piece.data = reinterpret_cast<const std::byte*>(values.at(name).data());
    pieces.push_back(piece);
  }
  const std::vector<ExtraFile> extra{{"tokenizer.model", reader.read_file("tokenizer.model")}};
  CheckpointWriter(folder_ / "run/checkpoints", 0, *make_self_group("writer"))
      .save(reader.manifest().run, pieces, extra);
  const std::string says = "image.blocks.0.feed_forward.in.weight holds an infinity or NaN";
  c.training.stop_after = 5;
  expect_refused(c, {.resume = "latest"}, says);
  const std::unique_ptr<Group> group = make_self_group("one");
  ThreadWorld world(*group);
  try {
    TrainedModel(c, world, "2");
    ADD_FAILURE() << "was not refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
  }
}

// A signal reaches one rank, whichever, in its third step: all stop behind that one, and the run goes on as if nothing
// had been.
TEST_F(Training, AllRanksStopBehindTheSameStepAndGoOnWithTheSameBits) {
  for (const MeshShape& mesh : fewer_if_sanitized<MeshShape>({{}, {.dp = 2}, {.pp = 2}}, 2)) {
    const int num_ranks = mesh.pp * mesh.dp;
    const std::string whole = fmt::format("whole{}{}", mesh.pp, mesh.dp);
    run(config(whole, mesh));
    for (int asked = 0; asked < num_ranks; ++asked) {
      const std::string dir = fmt::format("pp{}dp{}asked{}", mesh.pp, mesh.dp, asked);
      RunConfig c = config(dir, mesh);
      c.checkpoint.every = 2;
      std::vector<TrainingEnd> ends(static_cast<std::size_t>(num_ranks));
      run_ranks(num_ranks, [&](Group& group) {
        ThreadWorld world(group);
        TrainingRequest request;
        int num_steps = 0;
        request.on_start = [&] {  // of the rank that writes
          EXPECT_FALSE(group.rank() == 0 && std::filesystem::exists(folder_ / dir / "metrics.jsonl"));
        };
        request.stop_signal = [&, rank = group.rank()] { return rank == asked && ++num_steps >= 3 ? 12 : 0; };
        ends[static_cast<std::size_t>(group.rank())] = train(c, world, request);
      });
      for (const TrainingEnd& end : ends) {
        EXPECT_EQ(end.step, 3);
        EXPECT_EQ(end.stop_signal, 12);
      }
      EXPECT_EQ(list_steps(folder_ / dir / "checkpoints"), (std::vector<int64_t>{2, 3}));
      run(config(dir, mesh), {.resume = "latest"});
      expect_same_bits(metrics(whole), metrics(dir));
      EXPECT_EQ(tensors(checkpoint(whole, "20")), tensors(checkpoint(dir, "20")));
    }
  }
}

// Measuring it takes as long as many steps of a small model.
TEST_F(Training, OnlyALongRunMeasuresWhatShareOfThePeakItReaches) {
  for (const bool is_long : {false, true}) {
    const std::string dir = is_long ? "long" : "short";
    RunConfig c = config(dir, {.dp = 2}, {fmt::format("training.steps={}", is_long ? 1000000000 : 3)});
    run_ranks(2, [&](Group& group) {
      ThreadWorld world(group);
      int num_steps = 0;
      train(c, world, {.stop_signal = [&num_steps] { return ++num_steps >= 3 ? 15 : 0; }});
    });
    ASSERT_EQ(metrics(dir).size(), 3u);
    for (const StepMetrics& line : metrics(dir)) EXPECT_EQ(line.peak_share > 0, is_long) << dir << " " << line.step;
  }
}

TEST_F(Training, ASignalInTheLastStepChangesNothing) {
  RunConfig c = config("run");
  c.training.stop_after = 2;
  const std::unique_ptr<Group> group = make_self_group("one");
  ThreadWorld world(*group);
  int num_steps = 0;
  TrainingRequest request;
  request.stop_signal = [&] { return ++num_steps >= 2 ? 15 : 0; };
  EXPECT_EQ(train(c, world, request).stop_signal, 0);
  EXPECT_EQ(list_steps(folder_ / "run/checkpoints"), std::vector<int64_t>{2});
}

}  // namespace
}  // namespace triptych::test
