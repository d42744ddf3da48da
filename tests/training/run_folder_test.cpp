#include "training/run_folder.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint_writer.h"
#include "data/scratch_folder.h"
#include "parallel/group.h"
#include "report/evaluation_log.h"
#include "report/metrics.h"
#include "report/report.h"
#include "support/user_error.h"
#include "tasks/standard_tasks.h"
#include "training/run_config.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class Folder : public ::testing::Test {
 protected:
  Folder() : config_(parse_run_config("", "defaults", standard_tasks()).effective_toml) {}

  void put(const std::string& name, const std::string& text) {
    fs::create_directories((run_ / name).parent_path());
    write_file_atomically(run_ / name, text);
  }
  std::string text(const std::string& name) { return read_text_file(run_ / name, 1 << 20); }
  void save(int64_t step) {
    const std::vector<float> values(6, 1.0f);
    TensorPiece piece;
    static_cast<TensorBox&>(piece) = whole_tensor("w", DType::kFloat32, {2, 3});
    piece.data = reinterpret_cast<const std::byte*>(values.data());
    RunState state;
    state.step = step;
    state.config = config_;
    CheckpointWriter(run_ / "checkpoints", 0, *make_self_group("alone"))
        .save(state, std::span(&piece, 1), std::vector<ExtraFile>{{"tokenizer.model", "pieces"}});
  }
  // What a run of ours leaves, of this version or of one before there was a run.json.
  void make_run(bool has_identity) {
    StepMetrics line;
    line.step = 1;
    put("metrics.jsonl", to_json_line(line) + "\n");
    put("evaluations.jsonl", to_json_line(EvaluationLine{.step = 1}) + "\n");
    put("config.toml", config_);
    put("report.html", render_report({}));
    save(10);
    if (has_identity) RunFolder(run_).begin(FolderUse::kGoOn, config_, "", std::nullopt);
  }
  std::string refusal(FolderUse use) {
    const RunFolder folder(run_);
    try {
      folder.require_usable(use);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }
  // All files and links below, without the lock.
  Names tree() {
    Names names;
    for (const auto& entry : fs::recursive_directory_iterator(run_)) {
      if (!entry.is_directory() || entry.is_symlink()) names.push_back(entry.path().lexically_relative(run_).string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  ScratchFolder scratch_;
  const fs::path run_ = scratch_ / "run";
  const std::string config_;
};

TEST_F(Folder, OfNobodyOrWithOtherThingsInItIsFree) {
  EXPECT_EQ(refusal(FolderUse::kNew), "");
  put("notes.txt", "mine");
  put("checkpoints/openclip/epoch_32.pt", "weights");
  for (const FolderUse use : {FolderUse::kNew, FolderUse::kOverwrite}) EXPECT_EQ(refusal(use), "");
  RunFolder(run_).begin(FolderUse::kOverwrite, config_, "", std::nullopt);
  EXPECT_EQ(tree(), (Names{"checkpoints/openclip/epoch_32.pt", "config.toml", "notes.txt", "run.json"}));
}

TEST_F(Folder, WhatStandsInTheWayIsNamedAndStays) {
  struct Thing {
    const char *name, *contents, *says;
  };
  const Thing things[] = {
      {"config.toml", "my own config", "config.toml, which no run"},
      {"metrics.jsonl", "{\"not\": \"ours\"}\n", "metrics.jsonl, which no run"},
      {"metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\n", "metrics.jsonl, which no run"},
      {"metrics.jsonl", "{\n  \"step\": 1\n}\n", "metrics.jsonl, which no run"},
      {"metrics.jsonl", "\nnotes", "metrics.jsonl, which no run"},
      {"evaluations.jsonl", "{\"step\": 1, \"seconds\": 2}\n", "evaluations.jsonl, which no run"},
      {"report.html", "<html>hello", "report.html, which no run"},
      {"run.json", "{\"format\": \"else\"}", "run.json, which no run"},
      {"checkpoints", "a file", "checkpoints, which is no folder"},
      {"checkpoints/latest", "global_step100", "checkpoints/latest, which names no step"},
      {"checkpoints/step_00000010/weights.pt", "weights", "checkpoints/step_00000010, which holds weights.pt"},
      {"checkpoints/step_00000010/manifest.json", "{}", "checkpoints/step_00000010, which holds a manifest.json that"},
  };
  for (const Thing& thing : things) {
    fs::remove_all(run_);
    put(thing.name, thing.contents);
    for (const FolderUse use : {FolderUse::kNew, FolderUse::kOverwrite}) {
      expect_parts(refusal(use), {"must not replace what is not its own", thing.says, "another run.dir"});
    }
    EXPECT_EQ(text(thing.name), thing.contents);
    EXPECT_EQ(tree(), Names{thing.name});
  }
}

TEST_F(Folder, AllThatStandsInTheWayIsToldAtOnce) {
  put("config.toml", "mine");
  put("report.html", "mine");
  fs::create_symlink(scratch_ / "nowhere", run_ / "metrics.jsonl");
  expect_parts(refusal(FolderUse::kNew), {"config.toml", "report.html", "metrics.jsonl"});
  EXPECT_TRUE(fs::is_symlink(run_ / "metrics.jsonl"));
}

TEST_F(Folder, OfARunIsGoneOnWithOrOverwritten) {
  for (const bool has_identity : {false, true}) {
    fs::remove_all(run_);
    make_run(has_identity);
    expect_parts(refusal(FolderUse::kNew), {"holds a run already", "--resume latest", "--overwrite"});
    EXPECT_EQ(refusal(FolderUse::kGoOn), "");
    EXPECT_EQ(refusal(FolderUse::kOverwrite), "");
  }
}

TEST_F(Folder, OverwriteRemovesARunByNameAndNothingElse) {
  make_run(true);
  save(20);
  put("config_to_step_00000010.toml", config_);
  put("config_to_step_00000010_2.toml", "my notes on it");
  put("checkpoints/best/rank_00000.safetensors", "x");
  put("checkpoints/openclip/epoch_32.pt", "weights");
  fs::rename(run_ / "checkpoints/step_00000020", run_ / "checkpoints/kept");
  put("checkpoints/step_00000030.tmp/rank_00000.safetensors", "half");
  save(40);
  put("checkpoints/step_00000040/notes.txt", "mine");
  fs::create_directories(scratch_ / "disk");
  fs::create_directory_symlink(scratch_ / "disk", run_ / "checkpoints/step_00000050");
  const std::string id = text("run.json");
  RunFolder(run_).begin(FolderUse::kOverwrite, config_, "", std::nullopt);
  EXPECT_EQ(tree(), (Names{"checkpoints/best/rank_00000.safetensors", "checkpoints/kept/manifest.json",
                           "checkpoints/kept/rank_00000.safetensors", "checkpoints/kept/tokenizer.model",
                           "checkpoints/openclip/epoch_32.pt", "checkpoints/step_00000040/manifest.json",
                           "checkpoints/step_00000040/notes.txt", "checkpoints/step_00000040/rank_00000.safetensors",
                           "checkpoints/step_00000040/tokenizer.model", "checkpoints/step_00000050", "config.toml",
                           "config_to_step_00000010_2.toml", "run.json"}));
  EXPECT_NE(text("run.json"), id) << "another run";
}

TEST_F(Folder, ARunWithoutItsCheckpointsKeepsItsCurve) {
  make_run(true);
  const std::string curve = text("metrics.jsonl"), report = text("report.html");
  fs::rename(run_ / "checkpoints", scratch_ / "archive");
  EXPECT_EQ(refusal(FolderUse::kNew), "");
  const Names told = RunFolder(run_).begin(FolderUse::kNew, config_, "", std::nullopt);
  EXPECT_EQ(tree(),
            (Names{"config.toml", "evaluations.jsonl.aside", "metrics.jsonl.aside", "report.html.aside", "run.json"}));
  EXPECT_EQ(text("metrics.jsonl.aside"), curve);
  EXPECT_EQ(text("report.html.aside"), report);
  ASSERT_EQ(told.size(), 3u);
  expect_parts(told[0], {"metrics.jsonl] was not written by this run", "metrics.jsonl.aside"});
}

TEST_F(Folder, ACheckpointUnderAnotherNameIsARunToo) {
  make_run(true);
  fs::rename(run_ / "checkpoints/step_00000010", run_ / "checkpoints/best");
  fs::remove(run_ / "checkpoints/latest");
  expect_parts(refusal(FolderUse::kNew), {"holds a checkpoint of a run already, best", "--resume", "--overwrite"});
}

TEST_F(Folder, ACheckpointsFolderThatIsALinkStaysOneAndIsLockedToo) {
  fs::create_directories(scratch_ / "disk");
  fs::create_directories(run_);
  fs::create_directory_symlink(scratch_ / "disk", run_ / "checkpoints");
  {
    RunFolder folder(run_);
    folder.require_usable(FolderUse::kNew);
    folder.begin(FolderUse::kNew, config_, "", std::nullopt);
    fs::create_directories(scratch_ / "other");
    fs::create_directory_symlink(scratch_ / "disk", scratch_ / "other/checkpoints");
    EXPECT_THROW(RunFolder(scratch_ / "other"), UserError) << "the same disk from another run's folder";
  }
  save(10);
  RunFolder(run_).begin(FolderUse::kOverwrite, config_, "", std::nullopt);
  EXPECT_TRUE(fs::is_symlink(run_ / "checkpoints"));
  EXPECT_TRUE(fs::is_empty(scratch_ / "disk"));
}

TEST_F(Folder, TheConfigOfTheStepsBeforeIsKept) {
  make_run(true);
  const std::string id = text("run.json"), changed = config_ + "# changed\n";
  // The same config again, and one that says the same in other words.
  const auto go_on = [&](const std::string& config, bool is_changed, int64_t step) {
    return RunFolder(run_).begin(FolderUse::kGoOn, config, "",
                                 RunFolder::EarlierConfig{.config = config_, .step = step, .is_changed = is_changed});
  };
  EXPECT_TRUE(go_on(config_, false, 10).empty());
  EXPECT_TRUE(go_on(changed, false, 10).empty());
  EXPECT_EQ(text("config.toml"), changed);
  put("config.toml", config_);
  const Names told = go_on(changed, true, 10);
  ASSERT_EQ(told.size(), 1u);
  expect_parts(told[0], {"config of the steps to 10", "config_to_step_00000010.toml"});
  EXPECT_EQ(text("config_to_step_00000010.toml"), config_);
  EXPECT_EQ(text("config.toml"), changed);
  EXPECT_EQ(text("run.json"), id) << "the run is the same";
  // What is there was used by later steps, or has somebody's notes in it.
  put("config.toml", config_ + "# my notes\n");
  EXPECT_EQ(go_on(changed, true, 10).size(), 1u);
  EXPECT_EQ(text("config_to_step_00000010_2.toml"), config_ + "# my notes\n");
}

}  // namespace
}  // namespace triptych::test
