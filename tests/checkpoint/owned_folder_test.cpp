#include "checkpoint/owned_folder.h"

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint_support.h"

namespace triptych::test {
namespace {

using Names = std::vector<std::string>;

/// What saves do to what they did not write: nothing.
class OwnedFolder : public CheckpointTest {
 protected:
  SaveResult save(int64_t step, int64_t keep = 0) {
    OwnedPieces owned;
    owned.add(whole_tensor("w", DType::kFloat32, {3, 7}));
    RunState state;
    state.step = step;
    const std::vector<ExtraFile> extra{{"tokenizer.model", "pieces"}};
    return CheckpointWriter(folder_, keep, *alone()).save(state, owned.pieces, extra);
  }
  void put(const std::string& name, const std::string& text = "somebody's") {
    fs::create_directories((folder_ / name).parent_path());
    spit(folder_ / name, text);
  }
  std::string foreign(const std::string& name) { return foreign_content(folder_ / name, extra_); }

  const Names extra_{"tokenizer.model"};
};

TEST_F(OwnedFolder, IsKnownByItsContents) {
  save(10);
  EXPECT_EQ(foreign("step_00000010"), "");
  EXPECT_EQ(foreign_content(folder_ / "step_00000010", {}), "") << "the manifest lists the tokenizer";
  put("half/rank_00001.safetensors");
  EXPECT_EQ(foreign("half"), "");
  put("half/tokenizer.model");
  EXPECT_EQ(foreign("half"), "");
  EXPECT_EQ(foreign_content(folder_ / "half", {}), "holds tokenizer.model, which no save wrote");
  put("half/rank_1.safetensors");
  EXPECT_EQ(foreign("half"), "holds rank_1.safetensors, which no save wrote");
  put("theirs/manifest.json", "{\"format\": \"another\"}");
  EXPECT_EQ(foreign("theirs"), "holds a manifest.json that no save wrote, or that cannot be read");
  put("deep/rank_00000.safetensors/notes.txt");
  EXPECT_EQ(foreign("deep"), "holds rank_00000.safetensors, which no save wrote");
  fs::create_directories(folder_ / "empty" / "rank_00000.safetensors");
  EXPECT_EQ(foreign("empty"), "");
  fs::create_directory_symlink(folder_ / "step_00000010", folder_ / "link");
  EXPECT_EQ(foreign("link"), "is a link");
  put("file");
  EXPECT_EQ(foreign("file"), "is no folder");
  fs::create_directories(folder_ / "linked");
  fs::create_symlink(folder_ / "file", folder_ / "linked" / "rank_00000.safetensors");
  EXPECT_EQ(foreign("linked"), "holds rank_00000.safetensors, which no save wrote");
}

TEST_F(OwnedFolder, IsRemovedAloneAndADamagedManifestDoesNotSaveIt) {
  for (const int64_t step : {10, 20}) save(step);
  fs::resize_file(folder_ / "step_00000020" / "manifest.json", 100);
  for (const char* name : {"step_00000010", "step_00000020"}) remove_owned(folder_ / name, extra_);
  EXPECT_EQ(entries(), Names{"latest"});
  save(30);
  put("step_00000030/notes.txt");
  EXPECT_PRED2(contains, error_of([&] { remove_owned(folder_ / "step_00000030", extra_); }), "holds notes.txt");
  EXPECT_TRUE(fs::exists(folder_ / "step_00000030" / "rank_00000.safetensors"));
}

TEST_F(OwnedFolder, WhatStandsInTheWayOfASaveIsSetAside) {
  put("step_00000010/weights.pt");
  put("step_00000010.aside/older.pt");
  put("step_00000010.tmp/notes.txt");
  put("latest", "global_step100\n");
  const SaveResult result = save(10, 1);
  EXPECT_EQ(result.warnings.size(), 3u);
  EXPECT_EQ(entries(), (Names{"latest", "latest.aside", "step_00000010", "step_00000010.aside", "step_00000010.aside2",
                              "step_00000010.tmp.aside"}));
  EXPECT_EQ(slurp(folder_ / "step_00000010.aside2" / "weights.pt"), "somebody's");
  EXPECT_EQ(slurp(folder_ / "step_00000010.tmp.aside" / "notes.txt"), "somebody's");
  EXPECT_EQ(slurp(folder_ / "latest.aside"), "global_step100\n");
  EXPECT_EQ(slurp(folder_ / "latest"), "step_00000010\n");
  CheckpointReader::open(folder_, "latest").verify();
}

TEST_F(OwnedFolder, ALinkInTheWayKeepsWhatItPointsTo) {
  put("elsewhere/data.bin");
  fs::create_directory_symlink(folder_ / "elsewhere", folder_ / "step_00000010");
  EXPECT_EQ(save(10).warnings.size(), 1u);
  EXPECT_TRUE(fs::is_symlink(folder_ / "step_00000010.aside"));
  EXPECT_EQ(slurp(folder_ / "elsewhere" / "data.bin"), "somebody's");
}

TEST_F(OwnedFolder, OldCheckpointsWithSomethingOfSomebodyAndLinkedOnesAreKept) {
  save(10);
  put("step_00000010/notes.txt");
  save(20);
  fs::rename(folder_ / "step_00000020", folder_ / "moved");
  fs::create_directory_symlink(folder_ / "moved", folder_ / "step_00000020");
  save(30);
  const SaveResult result = save(40, 1);
  EXPECT_EQ(result.removed, Names{"step_00000030"});
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_PRED2(contains, result.warnings[0], "is kept beyond checkpoint.keep: it holds notes.txt");
  EXPECT_PRED2(contains, result.warnings[0], "Remove it by hand if it is not wanted.");
  EXPECT_EQ(entries(), (Names{"latest", "moved", "step_00000010", "step_00000020", "step_00000040"}));
}

TEST_F(OwnedFolder, LeftoversOfOthersStay) {
  put("step_00000010.tmp/rank_00000.safetensors");
  put("step_00000020.tmp/picture.png");
  put("step_00000030.replaced/picture.png");
  put("latest.tmp12", "step_0000");
  put("latest.tmp13", "my notes");
  remove_leftovers(folder_, extra_);
  EXPECT_EQ(entries(), (Names{"latest.tmp13", "step_00000020.tmp", "step_00000030.replaced"}));
}

TEST_F(OwnedFolder, LatestIsOursIfItNamesAStepOrHoldsNothing) {
  const auto is_ours = [&](std::string_view text) {
    spit(folder_ / "latest", text);
    return is_latest_of_ours(folder_ / "latest");
  };
  EXPECT_TRUE(is_ours("step_00000100\n"));
  EXPECT_TRUE(is_ours(""));
  EXPECT_TRUE(is_ours(std::string_view("\0\0\0", 3)));
  EXPECT_FALSE(is_ours("global_step100"));
  EXPECT_FALSE(is_ours("step_00000100\nand more"));
  EXPECT_FALSE(is_latest_of_ours(folder_ / "absent"));
}

}  // namespace
}  // namespace triptych::test
