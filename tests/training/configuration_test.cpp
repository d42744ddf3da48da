#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "execution/partition_model.h"
#include "support/user_error.h"
#include "tasks/standard_tasks.h"
#include "training/cluster.h"
#include "training/run_config.h"

namespace triptych::test {
namespace {

const std::filesystem::path kRoot = TRIPTYCH_SOURCE_DIR;

TEST(Configuration, TheDocumentSaysWhatTheProgramReads) {
  EXPECT_EQ(read_text_file(kRoot / "docs/configuration.md", 1 << 20), run_config_documentation(standard_tasks()))
      << "write it again: triptych config document > docs/configuration.md";
}

TEST(Configuration, EveryFileInConfigsIsSoundAndItsEffectiveFormReadsBackToItself) {
  std::set<std::string> tasks;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kRoot / "configs")) {
    if (entry.is_directory()) continue;
    if (entry.path().parent_path().filename() == "clusters") {
      EXPECT_FALSE(Cluster::read(entry.path()).name.empty()) << entry.path();
      continue;
    }
    const RunConfig config = load_run_config(entry.path(), {}, standard_tasks());
    EXPECT_EQ(parse_run_config(config.effective_toml, "effective", standard_tasks()).effective_toml,
              config.effective_toml)
        << entry.path();
    const std::string line = config.effective_toml.substr(config.effective_toml.find("task = "));
    tasks.insert(line.substr(0, line.find('\n')));
  }
  EXPECT_EQ(tasks.size(), standard_tasks().size()) << "there is a complete file for every task";
}

TEST(Configuration, AllThatIsWrongIsToldAtOnce) {
  const std::string text = user_error_of([] {
    load_run_config(kRoot / "configs/verify.toml",
                    {"parallel.tp=4", "training.global_batch=25", "parallel.microbatches=2", "model.image.patch=3",
                     "optimizer.learning_rat=1", "run.seed=\"x\""},
                    standard_tasks(), MeshUse::kSteps, 3);
  });
  expect_parts(text, {"model.text.heads", "2 heads, tp = 4", "training.global_batch", "25 / (1 * 2)",
                      "model.image.patch", "optimizer.learning_rate", "run.seed", "1*1*4 = 4, found 3"});
}

TEST(Configuration, RowsThatBelongTogetherAreOfOneMicrobatch) {
  const auto read = [](const std::string& batch) {
    return user_error_of([&] {
      load_run_config(kRoot / "configs/verify_align.toml",
                      {"objective.matching_group=3", "parallel.dp=2", "parallel.microbatches=2", batch},
                      standard_tasks(), MeshUse::kSteps, 2);
    });
  };
  expect_parts(read("training.global_batch=16"),
               {"training.global_batch", "16 / (2 * 2) = 4 rows, groups of 3", "Set it to 24"});
  EXPECT_EQ(read("training.global_batch=24"), "no error");
}

TEST(Configuration, TheScheduleOfTheLearningRateIsHeldAgainstTheSteps) {
  const auto read = [](const std::string& text) {
    return user_error_of(
        [&] { parse_run_config("training.steps = 10\n[optimizer]\n" + text, "run.toml", standard_tasks()); });
  };
  EXPECT_EQ(read("schedule = \"wsd\"\nwarmup_steps = 4\ndecay_steps = 6"), "no error");
  expect_parts(read("schedule = \"wsd\"\nwarmup_steps = 4\ndecay_steps = 7"), {"optimizer.decay_steps", "7 > 10 - 4"});
  expect_parts(read("schedule = \"linear\"\ndecay_steps = 3"), {"optimizer.decay_steps", "3 steps, schedule linear"});
  expect_parts(read("schedule = \"cosin\""), {"optimizer.schedule", "Did you mean \"cosine\"?"});
  const RunConfig config = parse_run_config("optimizer.schedule = \"wsd\"", "run.toml", standard_tasks());
  EXPECT_EQ(config.learning_rate.schedule, LearningRateSchedule::kWsd);
  EXPECT_EQ(parse_run_config("", "run.toml", standard_tasks()).learning_rate.schedule, LearningRateSchedule::kCosine);
}

TEST(Configuration, ATaskThatIsNotInTheTableIsRefusedWithThoseThatAre) {
  const auto read = [](TaskTable tasks) {
    return user_error_of([&] { parse_run_config("task = \"translate\"", "run.toml", tasks); });
  };
  expect_parts(read(standard_tasks()),
               {"run.toml:1", "`task`", "contrastive", "classify", "caption", "coca", "translate"});
  const std::string one = read(standard_tasks().subspan(1, 1));
  expect_parts(one, {"classify", "translate"});
  EXPECT_EQ(one.find("coca"), std::string::npos) << one;
}

TEST(Configuration, TheFirstTaskOfTheTableIsThatOfAFileThatNamesNone) {
  const auto task_of = [](TaskTable tasks) { return parse_run_config("", "run.toml", tasks).effective_toml; };
  expect_parts(task_of(standard_tasks()), {"task = \"contrastive\"", "[model.text]"});
  expect_parts(task_of(standard_tasks().subspan(1)), {"task = \"classify\"", "classes = "});
}

TEST(Configuration, AKeyOfAnotherTaskIsUnknown) {
  for (const char* text : {"task = \"classify\"\nmodel.text.width = 8", "task = \"caption\"\nmodel.classes = 8",
                           "task = \"caption\"\nobjective.temperature = 0.1", "model.pool_queries = 3"}) {
    expect_parts(user_error_of([&] { parse_run_config(text, "run.toml", standard_tasks()); }),
                 {"run.toml", "a key must be known"});
  }
}

// What a config's mesh is for decides what is asked of it.
TEST(Configuration, AMeshIsHeldAgainstTheRanksWhereStepsRunOnIt) {
  const std::filesystem::path file = kRoot / "configs/verify.toml";
  const std::vector<std::string> overrides{"parallel.pp=2", "parallel.tp=2"};
  const auto load = [&](MeshUse use, int ranks) {
    return load_run_config(file, overrides, standard_tasks(), use, ranks);
  };
  expect_parts(user_error_of([&] { load(MeshUse::kSteps, 2); }), {"2*1*2 = 4, found 2"});
  const MeshShape same = load(MeshUse::kForward, 4).parallel.mesh, other = load(MeshUse::kForward, 3).parallel.mesh;
  EXPECT_EQ(std::tuple(same.pp, same.dp, same.tp), std::tuple(2, 1, 2));
  EXPECT_EQ(std::tuple(other.pp, other.dp, other.tp), std::tuple(1, 3, 1)) << "all ranks become replicas";
  EXPECT_EQ(load(MeshUse::kNone, 1).parallel.mesh.pp, 1);
  expect_parts(user_error_of([&] { load_run_config(file, {"parallel.pp=99"}, standard_tasks(), MeshUse::kSteps, 99); }),
               {"parallel.pp", "99 stages, 9 blocks"});
}

TEST(Configuration, CutsNameTheFirstBlocksOfStages) {
  const std::filesystem::path file = kRoot / "configs/verify.toml";
  const auto load = [&](const std::string& cuts, MeshUse use = MeshUse::kPlan) {
    return load_run_config(file, {"parallel.pp=3", "parallel.cuts=" + cuts}, standard_tasks(), use, 3);
  };
  const RunConfig config = load(R"(["image.blocks.1", "text.blocks.0"])", MeshUse::kSteps);
  const ModelSpec model = config.task->model();
  const Partition partition =
      execution::partition_model(model, config.task->objectives(), 3, std::span(config.parallel.cuts));
  ASSERT_EQ(partition.begin.size(), 4u);
  EXPECT_EQ(model.blocks[static_cast<std::size_t>(partition.begin[1])].name, "image.blocks.1");
  EXPECT_EQ(model.blocks[static_cast<std::size_t>(partition.begin[2])].name, "text.blocks.0");
  const auto refused = [&](const std::string& cuts, const std::vector<std::string>& parts) {
    expect_parts(user_error_of([&] { load(cuts); }), parts);
  };
  refused(R"(["image.blocks.1"])", {"the first block of every stage but the first: 3 stages, found 1 names"});
  refused(R"(["image.block.1", "text.blocks.0"])",
          {"must name blocks of the model, found \"image.block.1\"", "Did you mean image.blocks.1?"});
  refused(R"(["text.blocks.0", "image.blocks.1"])",
          {"in the model's order", "\"image.blocks.1\" behind \"text.blocks.0\""});
  refused(R"(["image.embed", "image.blocks.1"])", {"in the model's order"});
  const auto refused_schedule = [&](const std::vector<std::string>& overrides, const std::vector<std::string>& parts) {
    expect_parts(user_error_of([&] { load_run_config(file, overrides, standard_tasks(), MeshUse::kPlan); }), parts);
  };
  refused_schedule({"parallel.schedule=\"interleave\""},
                   {"must be one of gpipe, 1f1b", "Did you mean \"interleaved\"?"});
  refused_schedule({"parallel.schedule=\"none/there.txt\"", "parallel.virtual_stages=2"},
                   {"must be 0 with a schedule out of a file", "none/there.txt"});
  refused_schedule({"parallel.schedule=\"zb_v\"", "parallel.virtual_stages=3"},
                   {"must be 2 with the schedule zb_v, found 3"});
  // They are made for a mesh, and where each rank becomes a replica there is none.
  EXPECT_TRUE(load(R"(["a", "b"])", MeshUse::kNone).parallel.cuts.empty());
}

}  // namespace
}  // namespace triptych::test
