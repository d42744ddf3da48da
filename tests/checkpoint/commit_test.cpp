#include <csignal>

#include <sys/resource.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/inspect.h"
#include "checkpoint/manifest.h"
#include "checkpoint_support.h"

namespace triptych::test {
namespace {

using Names = std::vector<std::string>;

class Commit : public CheckpointTest {
 protected:
  Commit() : CheckpointTest(true) {}

  static RunState state_of(int64_t step) {
    RunState state;
    state.step = step;
    state.model = "m";
    return state;
  }

  /// Each rank saves its rows of one tensor.
  static void save_rows(const fs::path& folder, Group& group, int64_t step, int64_t keep,
                        SaveResult* result = nullptr) {
    OwnedPieces owned;
    owned.add(slice_of(tensor(), 0, group.rank(), group.size()));
    const SaveResult saved = CheckpointWriter(folder, keep, group).save(state_of(step), owned.pieces);
    if (result != nullptr) *result = saved;
  }
  static TensorBox tensor() { return whole_tensor("w", DType::kFloat32, {5, 301}); }

  SaveResult save(int64_t step, int64_t keep = 0) {
    SaveResult result;
    save_rows(folder_, *alone(), step, keep, &result);
    return result;
  }
  /// In a process of its own that is killed at the save's gather of this number.
  void kill_at_gather(int gather, int64_t step, int64_t keep) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::unique_ptr<Group> group = alone();
      WatchedGroup watched(*group, [&](int count) {
        if (count == gather) ::raise(SIGKILL);
      });
      save_rows(folder_, watched, step, keep);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << gather;
  }
  void expect_sound(std::string_view which) {
    CheckpointReader reader = CheckpointReader::open(folder_, which);
    reader.verify();
    std::vector<std::byte> contents(bytes_of(tensor()));
    reader.read(tensor(), contents.data());
    EXPECT_EQ(contents, expected_contents(tensor()));
  }
};

TEST_F(Commit, LeavesTheStepAndLatestAndNothingElse) {
  save(7);
  EXPECT_EQ(entries(), (Names{"latest", "step_00000007"}));
  EXPECT_EQ(slurp(folder_ / "latest"), "step_00000007\n");
  Names files;
  for (const auto& entry : fs::directory_iterator(folder_ / "step_00000007")) files.push_back(entry.path().filename());
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (Names{"manifest.json", "rank_00000.safetensors"}));
  save(123456789);
  EXPECT_EQ(slurp(folder_ / "latest"), "step_123456789\n");
  EXPECT_EQ(list_steps(folder_), (std::vector<int64_t>{7, 123456789}));
}

TEST_F(Commit, KeepsTheNewest) {
  EXPECT_EQ(save(1, 2).removed, Names{});
  EXPECT_EQ(save(2, 2).removed, Names{});
  EXPECT_EQ(save(3, 2).removed, Names{"step_00000001"});
  EXPECT_EQ(save(4, 1).removed, (Names{"step_00000002", "step_00000003"}));
  EXPECT_EQ(entries(), (Names{"latest", "step_00000004"}));
  EXPECT_EQ(save(5, 0).removed, Names{});
  expect_sound("4");
  expect_sound("5");
}

TEST_F(Commit, ARunThatWentBackKeepsWhatItSavesFromThereWhateverTheClocksSay) {
  for (const int64_t step : {100, 200, 300}) save(step, 0);
  // Written on three machines, of which the first is a day ahead.
  const auto now = fs::file_time_type::clock::now();
  for (const int64_t step : {100, 200, 300}) {
    fs::last_write_time(folder_ / step_folder_name(step) / "manifest.json",
                        now + std::chrono::hours(24) - std::chrono::hours(step));
  }
  save(110, 2);
  EXPECT_EQ(list_steps(folder_), (std::vector<int64_t>{110, 300}));
  save(120, 2);
  EXPECT_EQ(list_steps(folder_), (std::vector<int64_t>{110, 120}));
  std::vector<int64_t> numbers;
  for (const SavedStep& saved : list_saves(folder_)) numbers.push_back(saved.save_number);
  EXPECT_EQ(numbers, (std::vector<int64_t>{4, 5})) << "three saves were before";
}

TEST_F(Commit, LatestIsTheLastSavedOrAnError) {
  for (const int64_t step : {10, 20, 30}) save(step, 0);
  // As a save leaves it that is killed between its two renames.
  spit(folder_ / "latest", "step_00000020\n");
  EXPECT_EQ(resolve_checkpoint(folder_, "latest"), folder_ / "step_00000030");
  // A flipped bit, or a hand.
  spit(folder_ / "latest", "step_00000010\n");
  try {
    resolve_checkpoint(folder_, "latest");
    FAIL() << "went back by two saves";
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("found step_00000010, and step_00000030 was saved after it"),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(resolve_checkpoint(folder_, "10"), folder_ / "step_00000010");
  // What cannot be read is not newer, whatever number it seems to have.
  spit(folder_ / "step_00000030" / "manifest.json", "{\"format\": \"triptych checkpoint\", \"save_number\": 9");
  EXPECT_EQ(resolve_checkpoint(folder_, "latest"), folder_ / "step_00000020");
}

TEST_F(Commit, CheckpointsOfBeforeThereWasANumberAreOlderThanAllWithOne) {
  for (const int64_t step : {10, 30, 20}) save(step, 0);
  // As an older version wrote them: without the line, and with the hash of the text without it.
  for (const int64_t step : {10, 20, 30}) {
    Manifest manifest = read_manifest(folder_ / step_folder_name(step) / "manifest.json");
    manifest.save_number = 0;
    std::string text = manifest.to_json();
    const std::string line = "\"save_number\": 0,\n";
    text.erase(text.find(line), line.size());
    const std::size_t digits = text.find("\"self_hash\": \"") + 14;
    text.replace(digits, 32, 32, '0');
    text.replace(digits, 32, hash128(std::as_bytes(std::span(text))).hex());
    spit(folder_ / step_folder_name(step) / "manifest.json", text);
  }
  expect_sound("20");
  save(15, 0);
  std::vector<int64_t> steps;
  for (const SavedStep& saved : list_saves(folder_)) steps.push_back(saved.step);
  EXPECT_EQ(steps, (std::vector<int64_t>{10, 20, 30, 15}));
  save(16, 3);
  EXPECT_EQ(list_steps(folder_), (std::vector<int64_t>{15, 16, 30}));
}

TEST_F(Commit, TheSameStepAgainReplacesIt) {
  save(10);
  spit(folder_ / "step_00000010" / "rank_00007.safetensors", "of a larger mesh");
  save(10, 1);
  EXPECT_FALSE(fs::exists(folder_ / "step_00000010" / "rank_00007.safetensors"));
  EXPECT_EQ(entries(), (Names{"latest", "step_00000010"}));
  expect_sound("latest");
}

TEST_F(Commit, ReplacesWhereNamesCannotBeExchanged) {
  constexpr const char* kFile = "rank_00000.safetensors";
  const auto make = [&](const char* name, const char* contents) {
    fs::create_directories(folder_ / name);
    spit(folder_ / name / kFile, contents);
  };
  make("step_00000010", "old");
  make("step_00000010.tmp", "new");
  Names warnings;
  move_into_place(folder_ / "step_00000010.tmp", folder_ / "step_00000010", {}, warnings, false);
  EXPECT_EQ(warnings, Names{});
  EXPECT_EQ(slurp(folder_ / "step_00000010" / kFile), "new");
  EXPECT_EQ(entries(), (Names{"step_00000010"}));
  make("step_00000010.replaced", "killed before the old one was removed");
  make("step_00000020.replaced", "killed between the two renames");
  spit(folder_ / "step_00000020.replaced" / "manifest.json", "{");
  make("step_00000020.tmp", "");
  remove_leftovers(folder_, {});
  EXPECT_EQ(entries(), (Names{"step_00000010", "step_00000020"}));
  EXPECT_EQ(slurp(folder_ / "step_00000020" / kFile), "killed between the two renames");
  EXPECT_EQ(slurp(folder_ / "step_00000010" / kFile), "new");
}

TEST_F(Commit, RemovesWhatAKilledSaveLeftAndNothingElse) {
  save(10);
  fs::create_directories(folder_ / "step_00000020.tmp");
  spit(folder_ / "step_00000020.tmp" / "rank_00000.safetensors", "half");
  spit(folder_ / "latest.tmp4711", "step_0");
  fs::create_directories(folder_ / "step_00000030.tmp.mine");
  fs::create_directories(folder_ / "notes.tmp");
  spit(folder_ / "latest.tmp", "");
  expect_sound("latest");  // a reader does not see them
  save(20);
  EXPECT_EQ(entries(),
            (Names{"latest", "latest.tmp", "notes.tmp", "step_00000010", "step_00000020", "step_00000030.tmp.mine"}));
}

TEST_F(Commit, KilledBetweenTheRenameAndLatestGoesOnFromTheNewer) {
  save(10);
  save(20);
  spit(folder_ / "latest", "step_00000010\n");  // as if killed just before `latest` was renamed
  EXPECT_EQ(CheckpointReader::open(folder_, "latest").manifest().run.step, 20);
  save(20);
  expect_sound("latest");
  EXPECT_EQ(CheckpointReader::open(folder_, "latest").manifest().run.step, 20);
}

TEST_F(Commit, KilledThereTwiceInARowIsNeverTwoBehind) {
  save(10);
  save(20);
  spit(folder_ / "latest", "step_00000010\n");  // as if killed just before `latest` was renamed
  kill_at_gather(0, 30, 0);
  EXPECT_EQ(entries(), (Names{"latest", "step_00000010", "step_00000020", "step_00000030.tmp"}));
  EXPECT_EQ(slurp(folder_ / "latest"), "step_00000020\n");  // before anything newer has its name
  save(30);
  spit(folder_ / "latest", "step_00000020\n");
  EXPECT_EQ(CheckpointReader::open(folder_, "latest").manifest().run.step, 30);
}

TEST_F(Commit, AProcessKilledAtAnyGatherHarmsNothing) {
  save(10);
  for (int gather = 0; gather < 3; ++gather) {
    kill_at_gather(gather, 20, 1);
    if (gather < 2) {  // the third comes after the commit
      EXPECT_EQ(entries(), (Names{"latest", "step_00000010", "step_00000020.tmp"}));
    }
    expect_sound("latest");
  }
  save(30, 1);
  EXPECT_EQ(entries(), (Names{"latest", "step_00000030"}));
  expect_sound("latest");
}

TEST_F(Commit, WhenOneRankFailsAllLearnItAndNothingIsHarmed) {
  save(10);
  // A folder stands where rank 1 is to make its file.
  const auto stand_in_the_way = [&](int rank, int count) {
    if (rank == 0 && count == 0) fs::create_directories(folder_ / "step_00000020.tmp" / "rank_00001.safetensors");
  };
  const auto save_20 = [&](Group& group) { save_rows(folder_, group, 20, 1); };
  for (const std::string& error : errors_of_ranks(3, save_20, stand_in_the_way)) {
    EXPECT_PRED2(contains, error, "world: [checkpoint] rank 1 of 3 could not write its part of checkpoint");
    EXPECT_PRED2(contains, error, "step_00000020.tmp/rank_00001.safetensors] cannot create it (errno 21");
  }
  EXPECT_EQ(entries(), (Names{"latest", "step_00000010"}));
  expect_sound("latest");
  EXPECT_EQ(errors_of_ranks(3, save_20), Names(3));
  EXPECT_EQ(entries(), (Names{"latest", "step_00000020"}));
  expect_sound("latest");
}

TEST_F(Commit, AFullDiskIsOneClearErrorAndHarmsNothing) {
  save(10);
  // A limit on the size of files stands for the full disk: write() then fails half-way with EFBIG.
  const fs::path message_path = folder_ / "message";
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 4096, 4096 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = error_of([&] { save_rows(folder_, *alone(), 20, 1); });
    spit(message_path, error);
    ::_exit(error.empty() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const std::string error = slurp(message_path);
  EXPECT_PRED2(contains, error, "world: [checkpoint] could not write its part of checkpoint");
  EXPECT_PRED2(contains, error, "Earlier checkpoints are untouched. Free space");
  EXPECT_PRED2(contains, error, "step_00000020.tmp/rank_00000.safetensors] cannot write");
  EXPECT_PRED2(contains, error, "File too large");
  fs::remove(message_path);
  EXPECT_EQ(entries(), (Names{"latest", "step_00000010"}));
  expect_sound("latest");
}

TEST_F(Commit, AFolderThatCannotBeMadeIsOneClearError) {
  spit(folder_ / "file", "");
  const std::string error = error_of([&] { save_rows(folder_ / "file" / "checkpoints", *alone(), 1, 0); });
  EXPECT_PRED2(contains, error, "world: [");
  EXPECT_PRED2(contains, error, "Not a directory");
}

TEST_F(Commit, ARankThatDoesNotSeeTheFolderSaysSo) {
  const auto hide = [&](int rank, int count) {
    if (rank == 0 && count == 0) fs::remove_all(folder_ / "step_00000020.tmp");
  };
  for (const std::string& error : errors_of_ranks(
           2, [&](Group& group) { save_rows(folder_, group, 20, 1); }, hide)) {
    EXPECT_PRED2(contains, error, "must be seen by every rank");
  }
}

TEST_F(Commit, PiecesThatDoNotTileAreOurDefectAndCommitNothing) {
  const auto save_boxes = [&](const std::vector<TensorBox>& boxes) {
    return error_of([&] {
      OwnedPieces owned;
      for (const TensorBox& box : boxes) owned.add(box);
      CheckpointWriter(folder_, 0, *alone()).save(state_of(1), owned.pieces);
    });
  };
  const TensorBox top = slice_of(tensor(), 0, 0, 2), bottom = slice_of(tensor(), 0, 1, 2);
  EXPECT_PRED2(contains, save_boxes({top}), "must cover every element, found 602 of 1505");
  TensorBox middle = bottom;
  middle.begin[0] = 1;
  EXPECT_PRED2(contains, save_boxes({top, middle}), "pieces must not overlap");
  TensorBox other = bottom;
  other.dtype = DType::kInt32;
  EXPECT_PRED2(contains, save_boxes({top, other}), "int32 [5, 301], another rank as float32 [5, 301]");
  TensorBox outside = bottom;
  outside.begin[0] = 4;
  EXPECT_PRED2(contains, save_boxes({top, outside}), "internal: ");
  EXPECT_EQ(entries(), Names{});
  EXPECT_EQ(save_boxes({top, bottom}), "");
}

TEST_F(Commit, DescribesItself) {
  errors_of_ranks(2, [&](Group& group) { save_rows(folder_, group, 40, 0); });
  for (const fs::path& path :
       {folder_, folder_ / "latest", folder_ / "step_00000040", folder_ / "step_00000040" / "manifest.json"}) {
    const std::string text = describe_checkpoint(path, false);
    EXPECT_PRED2(contains, text, "step        40 (0 skipped)");
    EXPECT_PRED2(contains, text, "1 tensors, 1,505 elements, 5.88 KiB");
    EXPECT_PRED2(contains, text, "w float32 [5, 301] in 2 pieces");
    EXPECT_FALSE(contains(text, "verified"));
  }
  EXPECT_PRED2(contains, describe_checkpoint(folder_, true), "verified    every file's hash");
}

}  // namespace
}  // namespace triptych::test
