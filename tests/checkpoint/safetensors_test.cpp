#include "checkpoint/safetensors.h"

#include <array>
#include <limits>

#include "checkpoint_support.h"

namespace triptych::test {
namespace {

class Safetensors : public CheckpointTest {
 protected:
  fs::path write_raw(std::string_view header, std::size_t data_bytes) {
    return write_raw(header, data_bytes, header.size());
  }
  fs::path write_raw(std::string_view header, std::size_t data_bytes, uint64_t stated) {
    std::string text(sizeof stated, '\0');
    std::memcpy(text.data(), &stated, sizeof stated);
    text += header;
    text.append(data_bytes, 'x');
    spit(folder_ / "raw.safetensors", text);
    return folder_ / "raw.safetensors";
  }
  std::string read_error(std::string_view header, std::size_t data_bytes) {
    const fs::path path = write_raw(header, data_bytes);
    return error_of([&] { read_safetensors_header(File::open_read(path)); });
  }
};

TEST_F(Safetensors, RoundTripOfEveryTypeAndOddShape) {
  const std::vector<TensorBox> boxes{
      whole_tensor("f32", DType::kFloat32, {3, 5}),     whole_tensor("bf16", DType::kBFloat16, {7}),
      whole_tensor("i32", DType::kInt32, {1, 1, 1}),    whole_tensor("i64", DType::kInt64, {}),
      whole_tensor("u8", DType::kUInt8, {3}),           whole_tensor("f64", DType::kFloat64, {2, 0, 3}),
      whole_tensor("雪 \"quoted\"", DType::kUInt8, {1})};
  OwnedPieces owned;
  std::vector<SafetensorsInput> inputs;
  for (const TensorBox& box : boxes) owned.add(box);
  for (const TensorPiece& piece : owned.pieces) inputs.push_back({piece.name, piece.dtype, piece.shape, piece.data});
  const fs::path path = folder_ / "a.safetensors";
  const WrittenFile written = write_safetensors(path, inputs, {{"note", "x"}});
  EXPECT_EQ(written.bytes, fs::file_size(path));
  EXPECT_EQ(written.hash, hash_file(path));

  const File file = File::open_read(path);
  const SafetensorsHeader header = read_safetensors_header(file);
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"note", "x"}}));
  ASSERT_EQ(header.tensors.size(), boxes.size());
  for (const TensorBox& box : boxes) {
    const SafetensorsEntry& entry = header.tensors.at(box.name);
    EXPECT_EQ(entry.dtype, box.dtype);
    EXPECT_EQ(entry.shape, box.shape);
    EXPECT_EQ(entry.offset % dtype_bytes(entry.dtype), 0u) << box.name << " is not aligned";
    std::vector<std::byte> contents(entry.bytes);
    file.pread(contents, entry.offset);
    EXPECT_EQ(contents, expected_contents(box)) << box.name;
  }
}

TEST_F(Safetensors, NoTensorsAtAll) {
  write_safetensors(folder_ / "none.safetensors", {}, {});
  EXPECT_TRUE(read_safetensors_header(File::open_read(folder_ / "none.safetensors")).tensors.empty());
}

TEST_F(Safetensors, AFullDiskIsTheWorldsError) {
  const std::array<float, 4> data{};
  const SafetensorsInput input{"x", DType::kFloat32, {4}, reinterpret_cast<const std::byte*>(data.data())};
  const std::string error = error_of([&] { write_safetensors("/dev/full", std::span(&input, 1), {}); });
  EXPECT_PRED2(contains, error, "world: [/dev/full] cannot write");
  EXPECT_PRED2(contains, error, "No space left on device");
}

TEST_F(Safetensors, RefusesALyingHeader) {
  EXPECT_EQ(read_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "");
  struct Case {
    const char* header;
    std::size_t data_bytes;
    const char* message;
  };
  const Case cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "must lie in the file's 7 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "1 bytes after the last"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "must lie in the file's"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})", 8, "must lie in the file's"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, "two non-negative integers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0.0,8.0]}})", 8, "two non-negative integers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "two non-negative integers"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "must have the 12 bytes of its shape, found 8"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "non-negative integers"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8, "non-negative integers"},
      {R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "dtype must be one of"},
      {R"({"a":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})", 8, "dtype must be one of"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8, "must have dtype, shape"},
      {R"({"a":3})", 0, "must have dtype, shape"},
      {R"({"__metadata__":{"x":3}})", 0, "must hold strings"},
      {R"({"__metadata__":[]})", 0, "must be an object"},
      {R"([])", 0, "must be a JSON object"},
      {R"({"a")", 0, "must be JSON"},
      {"", 0, "must be JSON"},
      {"{\"\xff\":1}", 0, "must be JSON"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "without overlap or hole"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
       5, "without overlap or hole"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       2, "found `a` twice"},
      {R"({"a":{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,2]}})", 2, "found `dtype` twice"},
  };
  for (const Case& c : cases) {
    const std::string error = read_error(c.header, c.data_bytes);
    EXPECT_PRED2(contains, error, c.message) << c.header;
    EXPECT_PRED2(contains, error, "world: ") << c.header;
    EXPECT_PRED2(contains, error, "raw.safetensors") << c.header;
  }
}

TEST_F(Safetensors, RefusesLengthsBeyondTheFileAndDeepHeaders) {
  const auto length_error = [&](uint64_t stated) {
    const fs::path path = write_raw("{}", 0, stated);
    return error_of([&] { read_safetensors_header(File::open_read(path)); });
  };
  EXPECT_EQ(length_error(2), "");
  for (const uint64_t stated : {uint64_t{3}, uint64_t{200'000'000}, std::numeric_limits<uint64_t>::max()}) {
    EXPECT_PRED2(contains, length_error(stated), "the header must fit into the file");
  }
  spit(folder_ / "short", "1234567");
  EXPECT_PRED2(contains, error_of([&] { read_safetensors_header(File::open_read(folder_ / "short")); }),
               "must have at least 8 bytes, found 7");
  const std::string deep = "{\"a\":" + std::string(1000000, '[');
  EXPECT_PRED2(contains, read_error(deep, 0), "must nest at most 4 levels");
}

TEST_F(Safetensors, ALongHeaderIsRefusedInFewWords) {
  const std::string word(100000, 'x');
  for (const std::string& header : {"{\"" + word, "{\"" + word + "\": 3}", "{\"a\": {\"dtype\": \"" + word + "\"}}",
                                    "{\"" + word + "\": 3, \"" + word + "\": 3}"}) {
    const std::string error = read_error(header, 0);
    EXPECT_PRED2(contains, error, "world: ") << header.substr(0, 20);
    EXPECT_LT(error.size(), 1000U) << header.substr(0, 20);
  }
}

TEST_F(Safetensors, AMutatedFileIsReadOrRefusedButNeverWorse) {
  OwnedPieces owned;
  owned.add(whole_tensor("a", DType::kFloat32, {2, 3}));
  owned.add(whole_tensor("b", DType::kInt64, {5}));
  std::vector<SafetensorsInput> inputs;
  for (const TensorPiece& piece : owned.pieces) inputs.push_back({piece.name, piece.dtype, piece.shape, piece.data});
  write_safetensors(folder_ / "a", inputs, {{"k", "v"}});
  const std::string sound = slurp(folder_ / "a");
  for (std::size_t i = 0; i < 1000; ++i) {
    std::string text = sound;
    text[philox_word({3, 0}, i) % text.size()] = static_cast<char>(philox_word({3, 1}, i));
    spit(folder_ / "m", text);
    const std::string error = error_of([&] {
      const File file = File::open_read(folder_ / "m");
      for (const auto& [name, entry] : read_safetensors_header(file).tensors) {
        ASSERT_LE(entry.offset + entry.bytes, text.size());
        ASSERT_EQ(static_cast<uint64_t>(volume(entry.shape)) * dtype_bytes(entry.dtype), entry.bytes);
      }
    });
    EXPECT_TRUE(error.empty() || error.starts_with("world: [")) << error;
  }
}

}  // namespace
}  // namespace triptych::test
