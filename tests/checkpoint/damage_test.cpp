#include "base/hash.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/inspect.h"
#include "checkpoint_support.h"
#include "parallel/agreement.h"

namespace triptych::test {
namespace {

class Damage : public CheckpointTest {
 protected:
  Damage() {
    errors_of_ranks(2, [&](Group& group) {
      OwnedPieces owned;
      owned.add(slice_of(tensor(), 0, group.rank(), 2));
      RunState state;
      state.step = 5;
      state.model = "m";
      CheckpointWriter(folder_, 0, group).save(state, owned.pieces, std::vector<ExtraFile>{{"vocab", "abc"}});
    });
  }
  static TensorBox tensor() { return whole_tensor("w", DType::kFloat32, {4, 9}); }
  fs::path step() const { return folder_ / "step_00000005"; }
  fs::path manifest() const { return step() / "manifest.json"; }

  std::string open_error(std::string_view which = "latest") {
    return error_of([&] { CheckpointReader::open(folder_, which); });
  }
  std::string read_error(const TensorBox& box) {
    return error_of([&] {
      std::vector<std::byte> contents(bytes_of(box));
      CheckpointReader::open(folder_, "latest").read(box, contents.data());
    });
  }
  /// Changes the manifest's text and signs it anew, as somebody would who forges it.
  void forge(const std::string& from, const std::string& to) {
    std::string text = slurp(manifest());
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const std::size_t digits = text.find("\"self_hash\": \"") + 14;
    text.replace(digits, 32, 32, '0');
    text.replace(digits, 32, hash128(std::as_bytes(std::span(text))).hex());
    spit(manifest(), text);
  }
};

TEST_F(Damage, LatestPointingNowhere) {
  spit(folder_ / "latest", "step_00000009\n");
  const std::string error = open_error();
  EXPECT_PRED2(contains, error, "world: [" + (folder_ / "latest").string());
  EXPECT_PRED2(contains, error, "found step_00000009, which is gone");
  EXPECT_PRED2(contains, error, "Steps there: 5.");
  for (const std::string_view text :
       {"", "../step_00000005", "step_5", "step_00000005\nx", "step_-0000005", "step_99999999999999999999999"}) {
    spit(folder_ / "latest", text);
    EXPECT_PRED2(contains, open_error(), "must name a step's folder") << text;
  }
  spit(folder_ / "latest", std::string(1000, 'x'));
  EXPECT_PRED2(contains, open_error(), "world: ");
  fs::remove(folder_ / "latest");
  EXPECT_PRED2(contains, open_error(), "must hold the file `latest`, found none. Name a step instead. Steps there: 5.");
  EXPECT_EQ(open_error("5"), "");
}

TEST_F(Damage, WhatTheUserAsksForMustExist) {
  EXPECT_PRED2(contains, open_error("6"), "user: ");
  EXPECT_PRED2(contains, open_error("6"), "must hold a checkpoint of step 6, found none. Steps there: 5.");
  EXPECT_EQ(open_error("step_00000005"), "");
  EXPECT_EQ(open_error(step().string()), "");
  EXPECT_EQ(open_error((folder_ / "latest").string()), "");
  EXPECT_EQ(error_of([&] { CheckpointReader::open(step(), ""); }), "");
  EXPECT_PRED2(contains, open_error("newest"), "user: [newest] a checkpoint must be there, found nothing");
  EXPECT_PRED2(contains, open_error((step() / "vocab").string()), "found another file");
  EXPECT_PRED2(contains, error_of([&] { CheckpointReader::open(folder_ / "none", "latest"); }), "user: ");
  fs::create_directories(folder_ / "empty");
  for (const fs::path& path : {folder_ / "empty", folder_ / "empty" / "latest"}) {
    EXPECT_PRED2(contains, error_of([&] { describe_checkpoint(path, false); }), "nothing has been saved there");
  }
}

TEST_F(Damage, AMissingOrTruncatedFile) {
  const fs::path shard = step() / "rank_00001.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  EXPECT_PRED2(contains, open_error(), "world: [" + shard.string());
  EXPECT_PRED2(contains, open_error(), "the file is truncated or altered");
  fs::remove(shard);
  EXPECT_PRED2(contains, open_error(), "must be there as the manifest says, found nothing");
  fs::remove(manifest());
  EXPECT_PRED2(contains, open_error(), "which is gone or has no manifest");
  EXPECT_PRED2(contains, error_of([&] { CheckpointReader::open(step(), "latest"); }), "neither a manifest.json");
}

TEST_F(Damage, AnAlteredByteIsFoundWhereItIsReadAndOnlyThere) {
  const fs::path shard = step() / "rank_00001.safetensors";
  const std::string sound = slurp(shard);
  for (std::size_t at = 0; at < sound.size(); at += 7) {
    std::string text = sound;
    text[at] = static_cast<char>(text[at] ^ 0x10);
    spit(shard, text);
    const std::string error = read_error(tensor());
    ASSERT_PRED2(contains, error, "world: [" + shard.string()) << at;
    ASSERT_PRED2(contains, error, "the file was altered or damaged after it was saved") << at;
    ASSERT_EQ(read_error(slice_of(tensor(), 0, 0, 2)), "") << "rank 0's file is sound";
    ASSERT_PRED2(contains, error_of([&] { describe_checkpoint(folder_, true); }), shard.string());
    ASSERT_EQ(error_of([&] { describe_checkpoint(folder_, false); }), "");
  }
  spit(shard, sound);
  EXPECT_EQ(read_error(tensor()), "");
  spit(step() / "vocab", "abd");
  EXPECT_PRED2(contains, error_of([&] { CheckpointReader::open(folder_, "latest").read_file("vocab"); }), "altered");
  EXPECT_PRED2(contains, error_of([&] { describe_checkpoint(folder_, true); }), "vocab");
}

TEST_F(Damage, AnAlteredManifestIsFound) {
  const std::string sound = slurp(manifest());
  for (std::size_t at = 0; at < sound.size(); at += 3) {
    std::string text = sound;
    text[at] = static_cast<char>(text[at] ^ 0x01);
    spit(manifest(), text);
    ASSERT_PRED2(contains, open_error(), "manifest.json") << at;
  }
  for (std::size_t size = 0; size + 2 < sound.size(); size += 11) {
    spit(manifest(), sound.substr(0, size));
    ASSERT_PRED2(contains, open_error(), "world: ") << size;
  }
}

TEST_F(Damage, ForeignFilesAndOtherVersions) {
  for (const std::string_view text : {"{}", "[]", "3", R"({"format": "pt"})", R"({"format": 3})"}) {
    spit(manifest(), text);
    EXPECT_PRED2(contains, open_error(), "user: ") << text;
    EXPECT_PRED2(contains, open_error(), "must be the manifest of a checkpoint") << text;
  }
  spit(manifest(), R"({"format": "triptych-checkpoint", "version": 2})");
  EXPECT_PRED2(contains, open_error(), "the format's version must be 1, found 2. Use the release");
  spit(manifest(), R"({"format": "triptych-checkpoint"})");
  EXPECT_PRED2(contains, open_error(), "must have the field `version`");
  spit(manifest(), R"({"format": "triptych-checkpoint", "version": 1})");
  EXPECT_PRED2(contains, open_error(), "must hold its own hash");
  spit(manifest(), std::string(100000, '['));
  EXPECT_PRED2(contains, open_error(), "must nest at most 8 levels");
  spit(manifest(), "not JSON");
  EXPECT_PRED2(contains, open_error(), "must be JSON");
}

TEST_F(Damage, ForgedManifestsAreCheckedFieldByField) {
  struct Case {
    const char *from, *to, *message;
  };
  const Case cases[] = {
      {"\"step\": 5", "\"step\": -5", "`step` must be a non-negative integer, found -5"},
      {"\"step\": 5", "\"step\": 1e400", "must be JSON"},
      {"\"step\": 5", "\"steps\": 5", "must have the field `step`"},
      {"\"step\": 5", "\"step\": 5,\n\"step\": 6", "found `step` twice"},
      {"\"model\": \"m\"", "\"model\": [1]", "`model` must be a string"},
      {"\"extra\": {}", "\"extra\": {\"a\": [1]}", "`extra` must hold numbers and strings"},
      {"\"mesh\": []", "\"mesh\": {}", "`mesh` must be a list"},
      {"\"name\":\"vocab\"", "\"name\":\"../vocab\"", "a file's name must be letters"},
      {"\"name\":\"vocab\"", "\"name\":\"rank_00000.safetensors\"", "must be distinct"},
      {"\"shape\":[4,9]", "\"shape\":[4,8]", "must lie inside of [4, 8]"},
      {"\"shape\":[4,9]", "\"shape\":[4,4611686018427387904]", "overflows"},
      {"\"shape\":[4,9]", "\"shape\":[4,9,1]", "must lie inside of"},
      {"\"begin\":[2,0]", "\"begin\":[9223372036854775807,0]", "must lie inside of"},
      {"\"dtype\":\"F32\"", "\"dtype\":\"F8\"", "the dtype of `w` must be known, found F8"},
      {"\"file\":\"rank_00001.safetensors\"", "\"file\":\"x\"", "must be in one of the files"},
  };
  const std::string sound = slurp(manifest());
  for (const Case& c : cases) {
    spit(manifest(), sound);
    forge(c.from, c.to);
    EXPECT_PRED2(contains, open_error(), c.message) << c.to;
    EXPECT_PRED2(contains, open_error(), "world: ") << c.to;
  }
  // What only shows when the tensors are read: gaps, overlaps, and files that hold something else.
  spit(manifest(), sound);
  forge("\"begin\":[2,0]", "\"begin\":[1,0]");
  EXPECT_PRED2(contains, read_error(tensor()), "pieces must not overlap");
  spit(manifest(), sound);
  forge("\"shape\":[4,9]", "\"shape\":[5,9]");
  EXPECT_PRED2(contains, read_error(whole_tensor("w", DType::kFloat32, {5, 9})), "found 36 of 45");
  EXPECT_PRED2(contains, error_of([&] { describe_checkpoint(folder_, true); }), "found 36 of 45");
  spit(manifest(), sound);
  forge("\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
  EXPECT_PRED2(contains, read_error(whole_tensor("w", DType::kInt32, {4, 9})), "found float32 [2, 9]");
  spit(manifest(), sound);
  forge("\"key\":\"w\"", "\"key\":\"v\"");
  EXPECT_PRED2(contains, read_error(tensor()), "must hold `v` as the manifest says");
}

TEST_F(Damage, AFailureToReadReachesEveryRank) {
  fs::resize_file(step() / "rank_00001.safetensors", 10);
  const auto errors = errors_of_ranks(3, [&](Group& group) {
    together(group, {"checkpoint", "open the checkpoint"}, [&]() -> std::string {
      if (group.rank() == 2) CheckpointReader::open(folder_, "latest");
      return "";
    });
  });
  for (const std::string& error : errors) {
    EXPECT_PRED2(contains, error, "world: [checkpoint] rank 2 of 3 could not open the checkpoint: [");
  }
}

}  // namespace
}  // namespace triptych::test
