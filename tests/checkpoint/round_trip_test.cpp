#include <cstdlib>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint_support.h"

namespace triptych::test {
namespace {

/// The tensors of a small model, with shapes that do not divide.
std::vector<TensorBox> model() {
  return {whole_tensor("model.embed", DType::kFloat32, {37, 13}),
          whole_tensor("model.qkv", DType::kFloat32, {3, 11, 5}),
          whole_tensor("model.bias", DType::kBFloat16, {19}),
          whole_tensor("model.scale", DType::kFloat32, {}),
          whole_tensor("optimizer.m.embed", DType::kFloat64, {37, 13}),
          whole_tensor("ids", DType::kInt64, {7, 1, 3}),
          whole_tensor("empty", DType::kUInt8, {0, 4}),
          whole_tensor("wide", DType::kUInt8, {5, 701})};
}

enum class Plan { kRows, kColumns, kMiddle, kOwner, kGrid };

/// The boxes that a rank holds. Together the ranks hold each element once.
std::vector<TensorBox> boxes_of(Plan plan, int rank, int size) {
  std::vector<TensorBox> boxes;
  int number = 0;
  for (const TensorBox& tensor : model()) {
    const std::size_t num_dims = tensor.shape.size();
    ++number;
    if (num_dims == 0 || plan == Plan::kOwner) {
      if (number % size == rank) boxes.push_back(tensor);
    } else if (plan == Plan::kGrid && num_dims >= 2 && size % 2 == 0) {
      boxes.push_back(slice_of(slice_of(tensor, 0, rank / 2, size / 2), num_dims - 1, rank % 2, 2));
      // slice_of looks at the global size of its dim only, so the two cuts are independent
    } else if (plan == Plan::kMiddle && tensor.name == "model.qkv") {
      // Heads of a fused projection: three separate pieces of one tensor on every rank.
      for (int64_t part = 0; part < 3; ++part) {
        TensorBox box = slice_of(tensor, 1, rank, size);
        box.begin[0] = part;
        box.shape[0] = 1;
        boxes.push_back(box);
      }
    } else {
      boxes.push_back(slice_of(tensor, plan == Plan::kColumns ? num_dims - 1 : 0, rank, size));
    }
  }
  return boxes;
}

RunState state_of(int64_t step) {
  RunState state;
  state.step = step;
  state.skipped_steps = 2;
  state.model = "two-tower 37x13";
  state.config = "[run]\nseed = 7 # \"self_hash\": \"\n";
  state.cursor = {{"seed", uint64_t{0xfedcba9876543210}}, {"epoch", int64_t{3}}, {"offset", int64_t{-1}}};
  state.random = {{"key", uint64_t{12345}}};
  state.extra = {{"loss", 0.1 + 0.2}, {"one", 1.0}, {"name", std::string("雪 \"q\"")}};
  state.mesh = {{"pp", 2}, {"dp", 1}, {"tp", 2}};
  return state;
}

class RoundTrip : public CheckpointTest {
 protected:
  void save(Plan plan, int size, int64_t step = 100) {
    const std::vector<ExtraFile> extra{{"tokenizer.model", std::string("\0\1bytes", 7)}};
    const std::vector<std::string> errors = errors_of_ranks(size, [&](Group& group) {
      OwnedPieces owned;
      for (const TensorBox& box : boxes_of(plan, group.rank(), size)) owned.add(box);
      const SaveResult result = CheckpointWriter(folder_, 0, group).save(state_of(step), owned.pieces, extra);
      uint64_t bytes = 0;
      for (const auto& entry : fs::directory_iterator(result.folder)) bytes += entry.file_size();
      EXPECT_EQ(result.bytes, bytes);
      EXPECT_TRUE(result.warnings.empty());
    });
    for (const std::string& error : errors) ASSERT_EQ(error, "");
  }

  void expect_boxes(CheckpointReader& reader, const std::vector<TensorBox>& boxes) {
    for (const TensorBox& box : boxes) {
      std::vector<std::byte> contents(bytes_of(box));
      reader.read(box, contents.data());
      ASSERT_EQ(contents, expected_contents(box)) << box.name << format_shape(box.shape) << format_shape(box.begin);
    }
  }
};

TEST_F(RoundTrip, AnyPartitionReadsBackAsAnyOther) {
  const Plan plans[] = {Plan::kRows, Plan::kColumns, Plan::kMiddle, Plan::kOwner, Plan::kGrid};
  for (const Plan from : plans) {
    for (const int from_size : {1, 3, 4}) {
      save(from, from_size);
      for (const Plan to : plans) {
        for (const int to_size : {1, 3, 4}) {
          for (int rank = 0; rank < to_size; ++rank) {
            CheckpointReader reader = CheckpointReader::open(folder_, "latest");
            expect_boxes(reader, boxes_of(to, rank, to_size));
          }
        }
      }
      CheckpointReader::open(folder_, "100").verify();
    }
  }
}

TEST_F(RoundTrip, FromOneRankToFourToThreeToOne) {
  const fs::path root = folder_;
  fs::path previous;
  for (const int size : {1, 4, 3, 1}) {
    const fs::path next = root / fmt::format("{}_after_{}", size, previous.filename().string());
    const std::vector<std::string> errors = errors_of_ranks(size, [&](Group& group) {
      OwnedPieces owned;
      for (const TensorBox& box : boxes_of(size == 3 ? Plan::kColumns : Plan::kRows, group.rank(), size)) {
        owned.add(box);
        if (previous.empty()) continue;
        std::fill(owned.storage.back().begin(), owned.storage.back().end(), std::byte{0xee});
        CheckpointReader::open(previous, "latest").read(box, owned.storage.back().data());
      }
      CheckpointWriter(next, 0, group).save(state_of(1), owned.pieces);
    });
    for (const std::string& error : errors) ASSERT_EQ(error, "");
    previous = next;
  }
  CheckpointReader reader = CheckpointReader::open(previous, "latest");
  expect_boxes(reader, model());
}

TEST_F(RoundTrip, InnerBoxesOfEverySize) {
  save(Plan::kGrid, 4);
  CheckpointReader reader = CheckpointReader::open(folder_, "latest");
  const TensorBox qkv = model()[1];
  for (int64_t i = 0; i < 300; ++i) {
    TensorBox box = qkv;
    for (std::size_t d = 0; d < 3; ++d) {
      const uint64_t at = static_cast<uint64_t>(3 * i) + d;
      box.begin[d] = philox_word({5, 0}, at) % (qkv.shape[d] + 1);
      box.shape[d] = philox_word({5, 1}, at) % (qkv.shape[d] - box.begin[d] + 1);
    }
    expect_boxes(reader, {box});
  }
}

TEST_F(RoundTrip, RunsThatAreLongShortAndFarApart) {
  const TensorBox tensor = whole_tensor("wide", DType::kFloat32, {41, 20011});
  OwnedPieces owned;
  for (int rank = 0; rank < 3; ++rank) owned.add(slice_of(tensor, 1, rank, 3));
  CheckpointWriter(folder_, 0, *alone()).save(state_of(1), owned.pieces);
  CheckpointReader reader = CheckpointReader::open(folder_, "latest");
  TensorBox narrow = tensor, rows = tensor;
  narrow.begin = {3, 6660};  // 20 elements of each row, in two pieces
  narrow.shape = {37, 20};
  rows.begin = {40, 0};
  rows.shape = {1, 20011};
  expect_boxes(reader, {narrow, rows, slice_of(tensor, 1, 1, 2), tensor});
}

TEST_F(RoundTrip, TheRunsStateComesBack) {
  save(Plan::kRows, 2);
  CheckpointReader reader = CheckpointReader::open(folder_, "latest");
  const RunState expected = state_of(100), found = reader.manifest().run;
  EXPECT_EQ(found.step, 100);
  EXPECT_EQ(found.skipped_steps, 2);
  EXPECT_EQ(found.model, expected.model);
  EXPECT_EQ(found.config, expected.config);
  EXPECT_EQ(found.mesh, expected.mesh);
  EXPECT_EQ(reader.manifest().world_size, 2);
  EXPECT_EQ(get_uint64(found.cursor, "seed"), 0xfedcba9876543210u);
  EXPECT_EQ(get_uint64(found.cursor, "epoch"), 3u);
  EXPECT_EQ(found.cursor.at("offset"), ManifestValue(int64_t{-1}));
  EXPECT_EQ(get_uint64(found.random, "key"), 12345u);
  EXPECT_EQ(get_double(found.extra, "loss"), 0.1 + 0.2);
  EXPECT_EQ(get_double(found.extra, "one"), 1.0);
  EXPECT_EQ(found.extra.at("name"), ManifestValue(std::string("雪 \"q\"")));
  EXPECT_THROW(get_double(found.extra, "name"), WorldError);
  EXPECT_THROW(get_uint64(found.cursor, "offset"), WorldError);
  EXPECT_THROW(get_uint64(found.cursor, "nothing"), WorldError);
  EXPECT_EQ(reader.read_file("tokenizer.model"), std::string("\0\1bytes", 7));
  EXPECT_PRED2(contains, error_of([&] { reader.read_file("vocab"); }), "user: ");
}

TEST_F(RoundTrip, SeveralThreadsMayReadAtOnce) {
  save(Plan::kColumns, 3);
  CheckpointReader reader = CheckpointReader::open(folder_, "latest");
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&, rank] { expect_boxes(reader, boxes_of(Plan::kRows, rank, 4)); });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RoundTrip, PythonReadsItFromTheDocumentAlone) {
  save(Plan::kMiddle, 3);
  const fs::path here = fs::path(__FILE__).parent_path();
  const fs::path document = here.parent_path().parent_path() / "docs" / "checkpoint-format.md";
  const fs::path out = folder_ / "out";
  const std::string command =
      fmt::format("/usr/bin/python3 '{}' '{}' '{}' '{}'", (here / "read_checkpoint.py").string(), document.string(),
                  (folder_ / "step_00000100").string(), out.string());
  ASSERT_EQ(std::system(command.c_str()), 0);
  for (const TensorBox& tensor : model()) {
    const std::string found = slurp(out / tensor.name);
    const std::vector<std::byte> expected = expected_contents(tensor);
    ASSERT_EQ(found.size(), expected.size()) << tensor.name;
    EXPECT_TRUE(expected.empty() || std::memcmp(found.data(), expected.data(), found.size()) == 0) << tensor.name;
  }
}

TEST_F(RoundTrip, ACheckpointOfAnotherModelListsTheDifferences) {
  save(Plan::kRows, 2);
  CheckpointReader reader = CheckpointReader::open(folder_, "latest");
  reader.require(model(), true);
  std::vector<TensorBox> other = model();
  other[0] = whole_tensor("model.embed", DType::kFloat32, {41, 13});
  other[1].name = "model.query";
  other[2].dtype = DType::kFloat32;
  const std::string error = error_of([&] { reader.require(other, true); });
  EXPECT_EQ(error,
            fmt::format("user: [{}] the checkpoint must be of this model, found 4 differences: `model.embed` must "
                        "be float32 [41, 13], found float32 [37, 13]; `model.query` float32 [3, 11, 5] is "
                        "missing; `model.bias` must be float32 [19], found bfloat16 [19]; `model.qkv` float32 "
                        "[3, 11, 5] is not in the model. Use the model's configuration that the checkpoint was "
                        "saved with, or another checkpoint.",
                        (folder_ / "step_00000100").string()));
  float value = 0;
  EXPECT_PRED2(contains, error_of([&] { reader.read(other[2], reinterpret_cast<std::byte*>(&value)); }),
               "must be float32 [19], found bfloat16 [19]");
  std::vector<TensorBox> none;
  EXPECT_PRED2(contains, error_of([&] { reader.require(none, true); }), "; and 3 more. Use");
}

}  // namespace
}  // namespace triptych::test
