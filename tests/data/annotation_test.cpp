// Roles of texts and boxes on the disk: written, indexed, read back, shown, forged.
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/index_file.h"
#include "data/ingest.h"
#include "data/inspect_shard.h"
#include "data/png_writer.h"
#include "pairs_support.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;
using enum TextRole;

std::vector<std::byte> blank_png(uint32_t width, uint32_t height) {
  return encode_png(width, height, std::vector<uint8_t>(std::size_t{3} * width * height));
}

std::vector<TestSample> annotated_samples() {
  return {{1,
           blank_png(8, 4),
           {"what?", "this", "that", "a thing"},
           2,
           {kQuestion, kAnswer, kAnswer, kPhrase},
           {{0, 0, 8, 4, 3, -1}, {7, 3, 8, 4, -1, 3}}},
          {2, {}, {"why?", "who?", "he"}, {}, {kQuestion, kQuestion, kAnswer}},
          {3, blank_png(5, 6), {}, {}, {}, {{1, 2, 5, 6, 0, -1}}}};
}

TEST(Annotations, ReadBackAsWrittenBesideShardsWithout) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples(11));
  write_shard(folder / "b.h5", annotated_samples());
  write_shard(folder / "c.h5", four_samples(21));
  build_index(folder.path());
  std::vector<TestSample> expected = four_samples(11);
  for (const auto& more : {annotated_samples(), four_samples(21)}) {
    expected.insert(expected.end(), more.begin(), more.end());
  }
  const Dataset dataset = Dataset::open(folder.path());
  expect_samples(dataset, expected);
  EXPECT_EQ(dataset.num_boxes(), 3u);
  EXPECT_EQ(dataset.num_texts(kQuestion), 3u);
  EXPECT_EQ(dataset.num_texts(kAnswer), 3u);
  EXPECT_EQ(dataset.num_texts(kPhrase), 1u);
  EXPECT_EQ(dataset.num_texts(kCaption), 10u);
  EXPECT_EQ(dataset.record(4).nth_text(kAnswer, 1), 2u);
  EXPECT_EQ(dataset.record(5).nth_text(kQuestion, 1), 1u);
  EXPECT_EQ(dataset.record(0).nth_text(kCaption, 2), 2u);
}

// Programs that know no roles and boxes read what has none, and refuse what has some by its version.
TEST(Annotations, RaiseTheVersionsOnlyWhereTheyAre) {
  const ScratchFolder folder;
  const auto index_of = [&](const char* name, const std::vector<TestSample>& samples) {
    fs::create_directories(folder / name);
    write_shard(folder / name / "a.h5", samples);
    build_index(folder / name);
    return nlohmann::json::parse(file_text(folder / name / "index.json"));
  };
  const nlohmann::json plain = index_of("plain", four_samples());
  EXPECT_EQ(plain["version"], 1);
  EXPECT_FALSE(plain.contains("has_roles") || plain.contains("num_boxes"));
  EXPECT_NE(describe_data(folder / "plain" / "a.h5", {}).find("version 1"), std::string::npos);
  // The header of version 1: its magic, 1, the counts, and four words of which the last three are zero.
  const std::string arrays = file_text(folder / "plain" / "index.bin");
  EXPECT_EQ(arrays.size(), 64 + 4 * 64 + 4 * 8 + 5 * 4u);
  EXPECT_EQ(arrays.substr(8, 1), "\x01");
  EXPECT_EQ(arrays.substr(40, 24), std::string(24, '\0'));

  const nlohmann::json annotated = index_of("annotated", annotated_samples());
  EXPECT_EQ(annotated["version"], 2);
  EXPECT_EQ(annotated["has_roles"], true);
  EXPECT_EQ(annotated["num_boxes"], 3);
  EXPECT_NE(describe_data(folder / "annotated" / "a.h5", {}).find("version 2"), std::string::npos);
  EXPECT_EQ(file_text(folder / "annotated" / "index.bin").substr(8, 1), "\x02");
  const TestSample all_captions{1, {}, {"one", "two"}, {}, {kCaption, kCaption}};
  EXPECT_EQ(index_of("captions", {all_captions})["version"], 1);
}

TEST(Annotations, AreInTheContentsHash) {
  const auto hash_of = [](const std::vector<TestSample>& samples) {
    const ScratchFolder folder;
    write_shard(folder / "a.h5", samples);
    build_index(folder.path());
    return Dataset::open(folder.path()).content_hash().hex();
  };
  std::vector<std::string> hashes{hash_of(annotated_samples())};
  const auto change = [&](const auto& work) {
    std::vector<TestSample> samples = annotated_samples();
    work(samples);
    hashes.push_back(hash_of(samples));
  };
  change([](auto& s) { s[0].roles[2] = kPhrase; });
  change([](auto& s) { s[0].boxes[0].left = 1; });
  change([](auto& s) { s[0].boxes[0].class_number = 4; });
  change([](auto& s) { s[0].boxes.pop_back(); });
  change([](auto& s) { s[2].boxes.clear(); });
  change([](auto& s) { s[1].roles.clear(); });
  std::ranges::sort(hashes);
  EXPECT_EQ(std::ranges::adjacent_find(hashes), hashes.end());
  EXPECT_EQ(hash_of(annotated_samples()), hash_of(annotated_samples()));
}

TEST(Annotations, AreShown) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", annotated_samples());
  build_index(folder.path());
  for (const fs::path& path : {folder.path(), folder / "a.h5"}) {
    const std::string text = describe_data(path, {.verify = true});
    EXPECT_NE(text.find("texts       7, "), std::string::npos) << text;
    EXPECT_NE(text.find("roles       0 caption, 3 question, 3 answer, 1 phrase\n"), std::string::npos) << text;
    EXPECT_NE(text.find("boxes       3 of 2 samples, 1 to 2 each; 2 with a class, 0 to 3; 1 with a phrase\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("missing     1 have no image, 1 no question, 1 no answer, 2 no phrase, 1 no box, 2 no label"),
              std::string::npos)
        << text;
  }
}

TEST(Annotations, AreRefusedByTheWriterWhereTheyBreakARule) {
  const ScratchFolder folder;
  const auto refused = [&](std::string_view part, const auto& change) {
    std::vector<TestSample> samples = annotated_samples();
    change(samples[0]);
    expect_error(ErrorKind::kUser, part, [&] { write_shard(folder / "x.h5", samples); });
  };
  refused("sample 0 (id 1): text 0 is an answer", [](TestSample& s) { s.roles[0] = kAnswer; });
  refused("box 0 must have 0 <= left < right <= 8", [](TestSample& s) { s.boxes[0].right = 9; });
  refused("box 1 is named by text 2", [](TestSample& s) { s.boxes[1].phrase = 2; });
  refused("has boxes and no image", [](TestSample& s) { s.image.clear(); });
  refused("has 1025 boxes, at most 1024", [](TestSample& s) { s.boxes.resize(1025, s.boxes[0]); });
}

// Whoever can write the index can fit its hashes; what it says of roles and boxes is checked all the same.
TEST(Annotations, ForgedIndexesLeadNowhere) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", annotated_samples());
  build_index(folder.path());
  const std::string original = file_text(folder / "index.bin"), json_text = file_text(folder / "index.json");
  // Header, 3 records, 3 labels, 7 lengths; then 7 roles, 4 first boxes, 3 boxes.
  constexpr std::size_t kRoles = 64 + 3 * 64 + 3 * 8 + 7 * 4, kFirst = kRoles + 7, kBoxes = kFirst + 4 * 8;
  ASSERT_EQ(original.size(), kBoxes + 3 * 24);
  const auto forge = [&](const std::string& arrays, const auto& change) {
    auto json = nlohmann::ordered_json::parse(json_text);
    json.erase("checksum");
    json["arrays"]["bytes"] = arrays.size();
    json["arrays"]["xxh3_128"] = hash128(std::as_bytes(std::span(arrays))).hex();
    change(json);
    const std::string text = json.dump();
    json["checksum"] = hash128(std::as_bytes(std::span(text))).hex();
    write_text(folder / "index.json", json.dump(1));
    write_text(folder / "index.bin", arrays);
  };
  const auto nothing = [](auto&) {};
  forge(original, nothing);
  EXPECT_EQ(Dataset::open(folder.path()).size(), 3u);
  const auto expect_forged = [&](std::size_t at, auto value, std::string_view part) {
    SCOPED_TRACE(at);
    std::string arrays = original;
    std::memcpy(arrays.data() + at, &value, sizeof(value));
    forge(arrays, nothing);
    expect_error(ErrorKind::kWorld, part, [&] { Dataset::open(folder.path()); });
  };
  constexpr std::string_view kOutside = "points outside a.h5";
  expect_forged(kRoles + 3, uint8_t{4}, "a role must be 0 to 3");
  expect_forged(kRoles, uint8_t{2}, kOutside);  // an answer first
  expect_forged(kFirst, uint64_t{1}, "must ascend from 0");
  expect_forged(kFirst + 8, ~uint64_t{0}, "must ascend from 0");
  expect_forged(kFirst + 24, uint64_t{4}, "must ascend from 0");
  expect_forged(kFirst + 8, uint64_t{1}, kOutside);  // a box of a sample that has no image
  expect_forged(kBoxes + 8, int32_t{9}, kOutside);   // right
  expect_forged(kBoxes, int32_t{-1}, kOutside);      // left
  expect_forged(kBoxes + 24 + 20, int32_t{1 << 20}, kOutside);
  expect_forged(kBoxes + 16, int32_t{-2}, kOutside);
  expect_forged(64 + 64 + 54, uint16_t{1}, kOutside);  // turned, without a box
  forge(original, [](auto& json) { json["num_boxes"] = 4; });
  expect_error(ErrorKind::kWorld, "add up", [&] { Dataset::open(folder.path()); });
  forge(original, [](auto& json) { json["num_boxes"] = json["shards"][0]["num_boxes"] = uint64_t{1} << 31; });
  expect_error(ErrorKind::kWorld, "index.bin] must have", [&] { Dataset::open(folder.path()); });
  forge(original, [](auto& json) { json["shards"][0]["num_boxes"] = uint64_t{1} << 40; });
  expect_error(ErrorKind::kWorld, "a shard may have", [&] { Dataset::open(folder.path()); });
  forge(original, [](auto& json) { json["version"] = 1; });
  expect_error(ErrorKind::kWorld, "add up", [&] { Dataset::open(folder.path()); });
  forge(original.substr(0, kRoles), [](auto& json) {
    json["has_roles"] = false;
    json["num_boxes"] = json["shards"][0]["num_boxes"] = 0;
  });
  expect_error(ErrorKind::kWorld, "'version' must be 2 with roles or boxes", [&] { Dataset::open(folder.path()); });
}

class IngestAnnotations : public ::testing::Test {
 protected:
  IngestAnnotations() {
    fs::create_directories(folder_ / "images");
    write_text(folder_ / "images" / "a.png", bytes_text(blank_png(8, 4)));
  }
  void ingest(std::string_view lines, std::string_view classes = {}) const {
    write_text(folder_ / "lines.jsonl", lines);
    PairsIngest options;
    options.images = folder_ / "images";
    options.captions = folder_ / "lines.jsonl";
    options.out = folder_ / "out";
    if (!classes.empty()) {
      options.classes = folder_ / "classes";
      write_text(options.classes, classes);
    }
    ingest_pairs(options);
  }
  void expect_refused(std::string_view lines, std::string_view part, std::string_view classes = {}) const {
    SCOPED_TRACE(std::string(lines.substr(0, 200)));
    expect_error(ErrorKind::kUser, part, [&] { ingest(lines, classes); });
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }
  ScratchFolder folder_;
};

TEST_F(IngestAnnotations, TakesQuestionsAnswersAndBoxes) {
  ingest(R"({"answers": ["a bird", "an animal"], "question": "What?", "image": "a.png", "label": 3})"
         "\n"
         R"({"image": "a.png", "boxes": [[0, 0, 8, 4], [1, 1, 2, 2], [3, 1, 4, 3]], "classes": [0, null, 1],)"
         R"( "phrases": ["a dog", "a cat", "a dog"], "caption": "both"})"
         "\n"
         R"({"question": "Why?", "answer": "because"})"
         "\n"
         R"({"question": "Who?"})"
         "\n"
         R"({"image": "a.png", "boxes": [[0, 0, 1, 1]], "classes": [2147483647], "phrases": null, "question": null})"
         "\n"
         R"({"image": "a.png", "boxes": [], "classes": []})"
         "\n");
  const Dataset dataset = Dataset::open(folder_ / "out");
  const std::vector<std::byte> png = blank_png(8, 4);
  expect_samples(dataset, {{1, png, {"What?", "a bird", "an animal"}, 3, {kQuestion, kAnswer, kAnswer}},
                           {2,
                            png,
                            {"both", "a dog", "a cat"},
                            {},
                            {kCaption, kPhrase, kPhrase},
                            {{0, 0, 8, 4, 0, 1}, {1, 1, 2, 2, -1, 2}, {3, 1, 4, 3, 1, 1}}},
                           {3, {}, {"Why?", "because"}, {}, {kQuestion, kAnswer}},
                           {4, {}, {"Who?"}, {}, {kQuestion}},
                           {5, png, {}, {}, {}, {{0, 0, 1, 1, 2147483647, -1}}},
                           {6, png, {}, {}}});
}

TEST_F(IngestAnnotations, RefusesWhatDoesNotFitTogether) {
  expect_refused(R"({"caption": "a", "answer": "b"})", "line 1: has an answer and no 'question'; give it, or rename");
  expect_refused(R"({"question": "a", "answer": "b", "answers": ["c"]})", "give 'answer' or 'answers', not both");
  expect_refused(R"({"question": ["a"]})", "a question must be a string, found array");
  expect_refused(R"({"question": "a", "answers": "b"})", "'answers' must be an array of strings, found string");
  expect_refused(R"({"question": "a", "answers": [1]})", "an answer must be a string, found number");
  expect_refused(R"({"question": " "})", "a question has no text, only U+0020");
  expect_refused(R"({"question": "a", "answers": [""]})", "an answer is empty; leave it out");
  expect_refused(R"({"caption": "a", "classes": [1]})", "has 'classes' and no 'boxes'; give the box of each");
  expect_refused(R"({"caption": "a", "phrases": ["b"]})", "has 'phrases' and no 'boxes'");
  expect_refused(R"({"caption": "a", "boxes": [[0, 0, 1, 1]], "classes": [1]})", "has boxes and no image");
  const auto boxed = [&](std::string_view rest, std::string_view part, std::string_view classes = {}) {
    expect_refused(fmt::format(R"({{"image": "a.png", "boxes": {}}})", rest), part, classes);
  };
  boxed(R"([[0, 0, 1, 1]])", "box 0 has neither a class nor a phrase; give 'classes' or 'phrases'");
  boxed(R"([[0, 0, 1, 1]], "classes": [null])", "box 0 has neither a class nor a phrase");
  boxed(R"([[0, 0, 1, 1]], "classes": [1, 2])",
        "'classes' must have one for each box, null where it has none; found 2 of 1");
  boxed(R"([[0, 0, 1, 1]], "classes": 1)", "'classes' must be an array, found number");
  boxed(R"([[0, 0, 1, 1]], "classes": [-1])", "a box's class must be an integer 0 to 2147483647, or null, found -1");
  boxed(R"([[0, 0, 1, 1]], "classes": [2147483648])", "found 2147483648");
  boxed(R"([[0, 0, 1, 1]], "phrases": [3])", "a phrase must be a string, found number");
  boxed(R"({"x": 1}, "classes": [1])", "'boxes' must be an array of [left, top, right, bottom], found object");
  boxed(R"([[0, 0, 1]], "classes": [1])", "box 0 must be [left, top, right, bottom], four integers in pixels");
  boxed(R"([[0, 0, 1, 1], [0.5, 0, 1, 1]], "classes": [1, 1])", "right and bottom excluded; found [0.5,0,1,1]");
  boxed(R"([[0, 0, 1, 4294967297]], "classes": [1])", "box 0 must be [left, top, right, bottom]");
  boxed(R"([[-1, 0, 1, 1]], "classes": [1])", "box 0 must be [left, top, right, bottom]");
  boxed(R"([[0, 0, 9, 4]], "classes": [1])",
        "line 1: box 0 must have 0 <= left < right <= 8 and 0 <= top < bottom <= 4");
  boxed(R"([[2, 0, 2, 4]], "classes": [1])", "in an image of 8x4, found [2, 0, 2, 4]");
  boxed(R"([[0, 0, 1, 1]], "classes": [2])", "a box's class 2 names none of the 2 classes", "one\ntwo\n");
  std::string many = "[[0, 0, 1, 1]";
  for (int i = 0; i < 1024; ++i) many += ", [0, 0, 1, 1]";
  boxed(many + "]", "has 1025 boxes, at most 1024 are allowed");
  std::string answers = R"({"question": "a", "caption": "b", "answers": ["c")";
  for (int i = 1; i < 1023; ++i) answers += R"(, "c")";
  expect_refused(answers + "]}", "is one too many: at most 1024 texts are allowed");
}

}  // namespace
}  // namespace triptych::test
