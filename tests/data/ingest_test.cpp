#include "data/ingest.h"

#include <fstream>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "data/class_names.h"
#include "data/dataset.h"
#include "data/inspect_shard.h"
#include "data/part_counts.h"
#include "pairs_support.h"
#include "shard_support.h"
#include "small_data_set.h"
#include "text/own_model.h"
#include "text/tokenizer.h"
#include "text/training.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

class IngestTest : public ::testing::Test {
 protected:
  IngestTest() {
    fs::create_directories(folder_ / "images" / "sub");
    for (const char* name : {"a.png", "b.png", "sub/c d.png"})
      write_text(folder_ / "images" / name, bytes_text(tiny_png()));
  }

  PairsIngest options(std::string_view lines) const {
    write_text(folder_ / "captions.jsonl", lines);
    PairsIngest options;
    options.images = folder_ / "images";
    options.captions = folder_ / "captions.jsonl";
    options.out = out();
    options.samples_per_shard = 2;
    return options;
  }
  fs::path out() const { return folder_ / "out"; }

  /// Ingests lines that must be refused with a message that has `part`; nothing may be left behind.
  void expect_refused(std::string_view lines, std::string_view part) const {
    SCOPED_TRACE(std::string(lines.substr(0, 200)));
    expect_error(ErrorKind::kUser, part, [&] { ingest_pairs(options(lines)); });
    EXPECT_FALSE(fs::exists(out()));
    EXPECT_FALSE(fs::exists(folder_ / "out.partial"));
  }

  ScratchFolder folder_;
};

constexpr std::string_view kLines =
    "\xEF\xBB\xBF{\"image\": \"a.png\", \"captions\": [\"one\", \"z\\u00e9ro\"], \"source\": \"web\"}\r\n"
    "\n"
    "{\"image\": null, \"caption\": \"text alone\", \"id\": 18446744073709551615, \"label\": 4}\n"
    "{\"image\": \"sub/c d.png\", \"source\": \"book\"}\n"
    "{\"image\": \"./b.png\", \"caption\": \"一只猫\", \"captions\": null, \"label\": null}";

TEST_F(IngestTest, NamesTheClasses) {
  PairsIngest wanted = options("{\"caption\": \"a\", \"label\": 2}\n{\"caption\": \"b\", \"label\": 0}\n");
  wanted.classes = folder_ / "names";
  write_text(wanted.classes, "红苹果\r\na dog\na dog");
  ingest_pairs(wanted);
  EXPECT_EQ(read_class_names(out()), (std::vector<std::string>{"红苹果", "a dog", "a dog"}));
  ingest_pairs(wanted);  // an ingest may replace what one has made
  const Dataset dataset = Dataset::open(out());
  EXPECT_EQ(dataset.record(0).label, 2);
  wanted.classes.clear();
  ingest_pairs(wanted);
  EXPECT_TRUE(read_class_names(out()).empty());
}

TEST_F(IngestTest, RefusesClassesThatAreNoNames) {
  PairsIngest wanted = options("{\"caption\": \"a\"}\n{\"caption\": \"b\", \"label\": 2}\n");
  wanted.classes = folder_ / "names";
  const auto refused = [&](const std::string& names, std::string_view part) {
    write_text(wanted.classes, names);
    expect_error(ErrorKind::kUser, part, [&] { ingest_pairs(wanted); });
    EXPECT_FALSE(fs::exists(out()));
  };
  refused("one\ntwo\n", "line 2: the label 2 names none of the 2 classes");
  refused("", "names no class");
  refused("one\n\nthree\n", "line 2: a class's name must not be empty");
  refused("one\n\xff\n", "line 2: is not UTF-8");
  refused("one\n" + std::string(kMaxClassNameBytes + 1, 'x') + "\n", "must have at most 1024 bytes, found 1025");
  refused(std::string(kMaxClassNamesBytes + 1, 'x'), "must have at most 16777216 bytes, found 16777217");
  fs::remove(wanted.classes);
  expect_error(ErrorKind::kUser, "is no file that can be read", [&] { ingest_pairs(wanted); });
}

TEST_F(IngestTest, PacksAllThatTheLinesSay) {
  uint64_t reported = 0;
  PairsIngest wanted = options(kLines);
  wanted.progress = [&](uint64_t samples, uint64_t) { reported = samples; };
  const IngestSummary summary = ingest_pairs(wanted);
  EXPECT_EQ(reported, 4u);
  EXPECT_EQ(summary.num_shards, 2u);
  EXPECT_EQ(summary.num_samples, 4u);
  EXPECT_EQ(summary.num_images, 3u);
  EXPECT_EQ(summary.num_captions, 4u);
  EXPECT_EQ(summary.counts.ignored, (std::map<std::string, uint64_t>{{"the key 'source'", 2}}));
  const Dataset dataset = Dataset::open(out());
  EXPECT_EQ(dataset.data_set_id(), summary.data_set_id);
  expect_samples(dataset, {{1, tiny_png(), {"one", "z\xC3\xA9ro"}, {}},
                           {~uint64_t{0}, {}, {"text alone"}, 4},
                           {4, tiny_png(), {}, {}},
                           {5, tiny_png(), {"一只猫"}, {}}});
  EXPECT_EQ(dataset.shard_name(1), "shard_00001.h5");
}

// A sample may lack its image, its captions or its label, in every way that a line can say so, but not both of the
// first.
TEST_F(IngestTest, PacksSamplesThatLackAPart) {
  for (const char* nothing : {"{\"image\": null, \"captions\": null}", "{\"label\": 3}",
                              "{\"id\": 3, \"captions\": []}", "{\"image\": null}"}) {
    expect_refused(std::string("{\"caption\": \"a\"}\n") + nothing, "line 2: has neither image nor captions");
  }
  const IngestSummary summary =
      ingest_pairs(options("{\"captions\": [\"a\"]}\n{\"image\": null, \"caption\": \"b\", \"label\": 0}\n"
                           "{\"image\": \"a.png\"}\n{\"image\": \"a.png\", \"captions\": []}\n"
                           "{\"image\": \"a.png\", \"caption\": null, \"label\": null}\n"
                           "{\"image\": \"a.png\", \"captions\": [\"c\", \"d\"], \"label\": 3}\n"));
  EXPECT_EQ(summary.num_images, 4u);
  EXPECT_EQ(summary.num_captions, 4u);
  const Dataset dataset = Dataset::open(out());
  expect_samples(dataset, {{1, {}, {"a"}, {}},
                           {2, {}, {"b"}, 0},
                           {3, tiny_png(), {}, {}},
                           {4, tiny_png(), {}, {}},
                           {5, tiny_png(), {}, {}},
                           {6, tiny_png(), {"c", "d"}, 3}});
  const PartCounts counts = count_parts(dataset);
  EXPECT_EQ(counts.samples, 6u);
  EXPECT_EQ(counts.images, 4u);
  EXPECT_EQ(counts.captions, 3u);
  EXPECT_EQ(counts.labels, 2u);
  EXPECT_EQ(counts.pairs, 1u);
  EXPECT_EQ(counts.lacking({.images = true, .captions = true, .labels = true}),
            "2 have no image, 3 no caption, 4 no label");
  EXPECT_EQ(counts.lacking({.captions = true}), "3 have no caption");
  EXPECT_EQ(count_samples_with(dataset, {.captions = true, .labels = true}), 2u);
  EXPECT_EQ(count_samples_with(dataset, {.images = true, .captions = true, .labels = true}), 1u);
  EXPECT_NE(
      describe_data(out(), {.verify = true}).find("missing     2 have no image, 3 no caption, 4 no label; 1 have"),
      std::string::npos);
}

TEST_F(IngestTest, SameInputSameBytes) {
  PairsIngest first = options(kLines);
  ingest_pairs(first);
  PairsIngest second = first;
  second.out = folder_ / "again/deep/";
  ingest_pairs(second);
  for (const char* name : {"shard_00000.h5", "shard_00001.h5", "index.json", "index.bin"}) {
    EXPECT_EQ(hash_file(out() / name), hash_file(folder_ / "again" / "deep" / name)) << name;
  }
  PairsIngest other = options(std::string(kLines) + "\n{\"caption\": \"one more\"}");
  other.out = folder_ / "other";
  EXPECT_NE(ingest_pairs(other).data_set_id, Dataset::open(out()).data_set_id());
}

TEST_F(IngestTest, ReplacesOnlyADataSet) {
  ingest_pairs(options(kLines));
  ingest_pairs(options("{\"caption\": \"new\"}"));
  expect_samples(Dataset::open(out()), {{1, {}, {"new"}, {}}});
  EXPECT_FALSE(fs::exists(out() / "shard_00001.h5"));
  EXPECT_FALSE(fs::exists(folder_ / "out.partial"));

  // A refused input leaves the older data set as it was.
  EXPECT_THROW(ingest_pairs(options("{}")), UserError);
  expect_samples(Dataset::open(out()), {{1, {}, {"new"}, {}}});

  // A tokenizer that was trained there is ours, and stays; one from elsewhere is not.
  const CaptionSource captions = [n = 0](std::string& caption) mutable {
    caption = "a picture of number " + std::to_string(n);
    return n++ < 100;
  };
  const std::string tokenizer = train_tokenizer(captions, 100, {.vocabulary = 100});
  write_text(out() / "tokenizer.model", tokenizer);
  write_text(out() / "index.bin.tmp4711", "left by a kill");
  const IngestSummary again = ingest_pairs(options("{\"caption\": \"newer\"}"));
  EXPECT_EQ(again.kept, std::vector<std::string>{"tokenizer.model"});
  EXPECT_EQ(file_text(out() / "tokenizer.model"), tokenizer);
  EXPECT_FALSE(fs::exists(out() / "index.bin.tmp4711"));
  expect_samples(Dataset::open(out()), {{1, {}, {"newer"}, {}}});
  write_text(out() / "tokenizer.model", "somebody's");
  expect_error(ErrorKind::kUser, "holds tokenizer.model, which `triptych tokenizer train` has not made",
               [&] { ingest_pairs(options(kLines)); });
  EXPECT_EQ(file_text(out() / "tokenizer.model"), "somebody's");
  fs::remove(out() / "tokenizer.model");
  // Nor are shards that the index does not list, links, folders, and data sets that others made.
  write_text(out() / "shard_00042.h5", "mine");
  expect_error(ErrorKind::kUser, "holds shard_00042.h5, which is not in its index",
               [&] { ingest_pairs(options(kLines)); });
  EXPECT_EQ(file_text(out() / "shard_00042.h5"), "mine");
  fs::remove(out() / "shard_00042.h5");
  fs::create_directory(out() / "classes.txt");
  expect_error(ErrorKind::kUser, "holds classes.txt", [&] { ingest_pairs(options(kLines)); });
  fs::remove(out() / "classes.txt");
  make_data_set(folder_ / "foreign", 3, [](uint64_t) { return SmallSample{.image = {}, .captions = {"theirs"}}; });
  PairsIngest onto_foreign = options(kLines);
  onto_foreign.out = folder_ / "foreign";
  expect_error(ErrorKind::kUser, "of data set small, that no ingest has made", [&] { ingest_pairs(onto_foreign); });
  EXPECT_EQ(Dataset::open(folder_ / "foreign").size(), 3u);
  write_text(out() / "index.json", "{");
  expect_error(ErrorKind::kUser, "its index does not say what it holds", [&] { ingest_pairs(options(kLines)); });
  fs::remove_all(out());
  ingest_pairs(options("{\"caption\": \"new\"}"));

  write_text(out() / "notes.txt", "mine");
  expect_error(ErrorKind::kUser, "holds notes.txt, which no ingest has made", [&] { ingest_pairs(options(kLines)); });
  EXPECT_EQ(file_text(out() / "notes.txt"), "mine");
  expect_samples(Dataset::open(out()), {{1, {}, {"new"}, {}}});
  fs::remove_all(out());
  fs::create_directory(out());
  ingest_pairs(options("{\"caption\": \"into an empty folder\"}"));
  EXPECT_EQ(Dataset::open(out()).size(), 1u);
  fs::remove(out() / "index.json");
  expect_error(ErrorKind::kUser, "shards without an index", [&] { ingest_pairs(options(kLines)); });
  fs::remove_all(out());
  write_text(out(), "a file");
  expect_error(ErrorKind::kUser, "is no folder", [&] { ingest_pairs(options(kLines)); });
  EXPECT_EQ(file_text(out()), "a file");
}

TEST_F(IngestTest, ClearsAwayWhatAKilledRunLeft) {
  fs::create_directory(folder_ / "out.partial");
  write_text(folder_ / "out.partial/shard_00007.h5.tmp123", "half");
  ingest_pairs(options("{\"caption\": \"a\"}"));
  EXPECT_EQ(Dataset::open(out()).num_shards(), 1u);
  fs::create_directory(folder_ / "out.partial");
  write_text(folder_ / "out.partial/thesis.doc", "precious");
  expect_error(ErrorKind::kUser, "holds thesis.doc", [&] { ingest_pairs(options("{\"caption\": \"a\"}")); });
  EXPECT_EQ(file_text(folder_ / "out.partial/thesis.doc"), "precious");
}

TEST_F(IngestTest, LeavesWhatLiesInThePlaceOfItsFolder) {
  const fs::path place = folder_ / "out.partial";
  const PairsIngest wanted = options("{\"caption\": \"a\"}");
  write_text(place, "precious");
  expect_error(ErrorKind::kUser, "is where the data set is made, but is no folder", [&] { ingest_pairs(wanted); });
  EXPECT_EQ(file_text(place), "precious");
  fs::remove(place);
  fs::create_directory_symlink(folder_ / "images", place);
  expect_error(ErrorKind::kUser, "is where the data set is made, but is no folder", [&] { ingest_pairs(wanted); });
  EXPECT_TRUE(fs::is_symlink(place));
  fs::remove(place);
  fs::create_directories(place / "shard_00000.h5");
  write_text(place / "shard_00000.h5" / "thesis.doc", "precious");
  expect_error(ErrorKind::kUser, "holds shard_00000.h5", [&] { ingest_pairs(wanted); });
  EXPECT_EQ(file_text(place / "shard_00000.h5" / "thesis.doc"), "precious");
}

TEST_F(IngestTest, RefusesASecondOneAtTheSamePlace) {
  PairsIngest first = options("{\"caption\": \"a\"}\n{\"caption\": \"b\"}");
  bool is_refused = false;
  first.progress = [&](uint64_t samples, uint64_t) {
    if (samples != 1) return;
    PairsIngest second = first;
    second.progress = {};
    expect_error(ErrorKind::kUser, "another ingest is making a data set there", [&] { ingest_pairs(second); });
    is_refused = true;
  };
  ingest_pairs(first);
  EXPECT_TRUE(is_refused);
  expect_samples(Dataset::open(out()), {{1, {}, {"a"}, {}}, {2, {}, {"b"}, {}}});
}

TEST_F(IngestTest, RefusesBadLinesWithTheirNumbers) {
  expect_refused("", "has no line");
  expect_refused("{\"caption\": \"a\"}\n\nnonsense\n", "line 3: is not JSON");
  expect_refused("[1]", "line 1: must be an object, found array");
  expect_refused("{}", "neither image nor captions");
  expect_refused("{\"image\": \"a.png\", \"captions\": \"a\"}", "'captions' must be an array");
  expect_refused("{\"captions\": [\"a\", 3]}", "a caption must be a string, found number");
  expect_refused("{\"captions\": []}", "neither image nor captions");
  expect_refused("{\"captions\": [\"\"]}", "a caption is empty");
  expect_refused("{\"captions\": [\"a\"], \"caption\": \"b\"}", "not both");
  expect_refused("{\"caption\": \"\xC3\x28\"}", "is not UTF-8");
  expect_refused("{\"caption\": \"\\ud800\"}", "is not JSON");  // half of a surrogate pair
  expect_refused("{\"image\": 4}", "'image' must be a file name");
  expect_refused("{\"image\": \"\"}", "'image' is empty");
  expect_refused("{\"caption\": \"a\", \"id\": -1}", "'id' must be an integer");
  expect_refused("{\"caption\": \"a\", \"id\": \"x\"}", "'id' must be an integer");
  expect_refused("{\"caption\": \"a\", \"id\": 18446744073709551616}", "'id' must be an integer");
  expect_refused("{\"caption\": \"a\", \"label\": -1}", "'label' must be");
  expect_refused("{\"caption\": \"a\", \"label\": 9223372036854775808}", "'label' must be");
  expect_refused("{\"caption\": \"a\", \"label\": 1.5}", "'label' must be");
  expect_refused("{\"caption\": \"a\", \"id\": 7}\n{\"caption\": \"a\", \"id\": 7}",
                 "line 2: the id 7 was already that of line 1");
  expect_refused("{\"caption\": \"a\", \"id\": 2}\n{\"caption\": \"a\"}", "a line without 'id' has its number as id");
  expect_refused("{\"caption\": \"" + std::string(65537, 'a') + "\"}", "65537 bytes");
  expect_refused("{\"caption\": \"a\"}\n\"" + std::string(5 << 20, 'a') + "\"\n[]",
                 "line 2: is longer than 4194304 bytes\n  line 3: must be an object");
  expect_refused(std::string(1 << 20, '['), "is not JSON");
}

TEST_F(IngestTest, NamesTheMistakesThatPeopleMake) {
  expect_refused("{\"caption\": \"a\", \"caption\": \"b\"}", "line 1: has the key 'caption' twice");
  expect_refused("{\"caption\": \"a\", \"meta\": {\"x\": 1, \"x\": 2}}", "has the key 'x' twice");
  expect_refused("{\"file_name\": \"a.png\", \"text\": \"apple\"}",
                 "found file_name, text; rename 'file_name' to 'image', 'text' to 'caption'");
  expect_refused(
      "{\"image\": \"a.png\", \"conversations\": []}",
      "has no caption under the keys that are read: image, captions (or caption), question, answers (or answer), "
      "boxes, classes, phrases, id, label");
  expect_refused("{\"Image\": \"a.png\", \"caption\": \"a\"}", "rename 'Image' to 'image'");
  expect_refused("{\"url\": \"x\"}", "has neither image nor captions under the keys that are read");
  expect_refused("[\n{\"caption\": \"a\"},\n]", "; it is a piece of an array");
  expect_refused("[{\"caption\": \"a\"}]", "must be an object, found array; it is a piece of an array");
  expect_refused("{\"caption\": \"a\"},", "there is a comma behind the object");
  expect_refused("{\"caption\": \"a\",}", "there is a comma before a closing bracket");
  expect_refused("{'caption': 'a'}", "strings stand in double quotes");
  expect_refused("{\"caption\": NaN}", "NaN is not JSON");
  expect_refused("{\"caption\": \"it's None\", \"id\": None}", "None is not JSON");
  expect_refused("{\n\"caption\": \"a\"\n}", "an object may not go over several lines");
  expect_refused("{\"caption\": \"a\"}\r{\"caption\": \"b\"}", "carriage returns");
  ingest_pairs(options("{\"image\": \"a.png\", \"label\": 3, \"title\": \"metadata\"}\n   \n\t\r\n"));
  EXPECT_EQ(Dataset::open(out()).size(), 1u);
}

TEST_F(IngestTest, NamesFilesThatHoldNoLines) {
  for (const auto& [bytes, part] :
       std::initializer_list<std::pair<std::string_view, std::string_view>>{{{"\xFF\xFE{\0\"\0", 6}, "is UTF-16"},
                                                                            {{"\xFE\xFF\0{", 4}, "is UTF-16"},
                                                                            {{"{\0\"\0", 4}, "is UTF-16"},
                                                                            {"\x1F\x8B\x08xx", "is compressed by gzip"},
                                                                            {"PAR1xxxx", "is a Parquet file"}}) {
    expect_refused(bytes, part);
  }
}

TEST_F(IngestTest, RefusesCaptionsWithoutText) {
  expect_refused("{\"caption\": \"   \"}", "a caption has no text, only U+0020 U+0020 U+0020");
  expect_refused("{\"captions\": [\"a\", \"\\u200b\\ufeff\"]}", "only U+200B U+FEFF, of which no token is left");
  expect_refused("{\"caption\": \"\\u00a0\\n\"}", "only U+00A0 U+000A");
  ingest_pairs(options("{\"caption\": \"\\u200b .\"}"));
  EXPECT_EQ(Dataset::open(out()).num_captions(), 1u);
}

TEST_F(IngestTest, DecodesIfAskedAndTellsWhatImagesSay) {
  std::string lines;
  for (const char* name : {"420.jpg", "cut.jpg", "wide.png", "wide.jpg", "slack_420.jpg", "filled_420.jpg"}) {
    fs::copy_file(image_fixtures() / name, folder_ / "images" / name);
    lines += fmt::format("{{\"image\": \"{}\", \"caption\": \"a\"}}\n", name);
  }
  PairsIngest wanted = options(lines);
  const IngestSummary summary = ingest_pairs(wanted);
  ASSERT_EQ(summary.counts.remarks.size(), 2u);
  const auto& [profile, of_profile] = *summary.counts.remarks.begin();
  const auto& [cut, of_cut] = *summary.counts.remarks.rbegin();
  EXPECT_NE(profile.find("colour profile"), std::string::npos);
  EXPECT_EQ(of_profile.count, 2u);
  EXPECT_EQ(of_profile.first, "line 3");
  EXPECT_NE(cut.find("ends before its pixels do"), std::string::npos);
  EXPECT_EQ(of_cut.first, "line 2");
  expect_error(ErrorKind::kWorld, "has 1 problem:\n  shard_00000.h5 sample 1 (id 2): [image: JPEG]",
               [&] { describe_data(out(), {.decode = true, .threads = 3}); });
  expect_error(ErrorKind::kWorld, "has 1 problem:\n  sample 1 (id 2): [image: JPEG]",
               [&] { describe_data(out() / "shard_00000.h5", {.decode = true}); });
  for (const int threads : {1, 4}) {
    wanted.decode = true;
    wanted.threads = threads;
    expect_error(ErrorKind::kUser, "has 1 problem:\n  line 2: the image 'cut.jpg': [image: JPEG]",
                 [&] { ingest_pairs(wanted); });
    EXPECT_EQ(Dataset::open(out()).size(), 6u) << "the older one is left";
  }
  // In order, whatever the threads.
  lines.erase(lines.find("{\"image\": \"cut.jpg\""),
              lines.find("{\"image\": \"wide.png\"") - lines.find("{\"image\": \"cut.jpg\""));
  write_text(wanted.captions, lines);
  ingest_pairs(wanted);
  const Hash128 of_four = hash_file(out() / "shard_00000.h5");
  wanted.decode = false;
  ingest_pairs(wanted);
  EXPECT_EQ(hash_file(out() / "shard_00000.h5"), of_four);
  EXPECT_NE(describe_data(out(), {.verify = true, .decode = true}).find("all 5 images are whole"), std::string::npos);
}

TEST_F(IngestTest, RefusesBadImages) {
  const fs::path images = folder_ / "images";
  write_text(folder_ / "outside.png", bytes_text(tiny_png()));
  write_text(images / "empty.png", "");
  write_text(images / "text.png", "hello");
  write_text(images / "cut.png", bytes_text(tiny_png()).substr(0, 20));
  std::string bomb = bytes_text(tiny_png());
  bomb.replace(16, 8, std::string("\0\1\0\0\0\1\0\0", 8));  // 65,536 x 65,536 pixels
  write_text(images / "bomb.png", bomb);
  write_text(images / "large.png", "");
  fs::resize_file(images / "large.png", (64 << 20) + 1);
  fs::create_symlink(folder_ / "outside.png", images / "link.png");
  fs::create_symlink("a.png", images / "inside.png");
  ASSERT_EQ(::mkfifo((images / "pipe.png").c_str(), 0600), 0);
  const auto line = [](const std::string& name) { return "{\"image\": \"" + name + "\", \"caption\": \"a\"}"; };
  expect_refused(line("missing.png"), "cannot be found");
  expect_refused(line("../outside.png"), "without '..'");
  expect_refused(line("sub/../../outside.png"), "without '..'");
  expect_refused(line((folder_ / "outside.png").string()), "must be a name relative to");
  expect_refused(line("a.png\\u0000.jpg"), "line 1: the image's name has a zero byte");
  expect_refused(line("\\u001b[31m\\n"), "/?[31m? cannot be found");
  expect_refused(line("link.png"), "is a link that leads out of");
  expect_refused(line("sub"), "is not a regular file");
  expect_refused(line("pipe.png"), "is not a regular file");
  expect_refused(line("empty.png"), "is an empty file");
  expect_refused(line("text.png"), "line 1: the image 'text.png'");
  expect_refused(line("cut.png"), "line 1: the image 'cut.png'");
  expect_refused(line("bomb.png"), "line 1: the image 'bomb.png'");
  expect_refused(line("large.png"), "has 67108865 bytes, at most 67108864");
  expect_refused(line("a.png/x.png"), "cannot be found");
  ingest_pairs(options(line("inside.png")));
  expect_samples(Dataset::open(out()), {{1, tiny_png(), {"a"}, {}}});
}

TEST_F(IngestTest, NamesTheFirstTwentyFaultsAndCountsTheRest) {
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += i % 2 == 0 ? "{\"caption\": \"good\"}\n" : "{\"image\": \"no.png\"}\n";
  const std::string text = error_text(ErrorKind::kUser, [&] { ingest_pairs(options(lines)); });
  EXPECT_NE(text.find("has 25 problems:\n  line 2: "), std::string::npos) << text;
  EXPECT_NE(text.find("line 40: "), std::string::npos) << text;
  EXPECT_EQ(text.find("line 42: "), std::string::npos) << text;
  EXPECT_NE(text.find("and 5 more"), std::string::npos) << text;
}

TEST_F(IngestTest, RefusesImpossibleOptions) {
  PairsIngest wanted = options(kLines);
  wanted.samples_per_shard = 0;
  expect_error(ErrorKind::kUser, "--samples-per-shard must be 1", [&] { ingest_pairs(wanted); });
  wanted = options(kLines);
  wanted.images = folder_ / "nowhere";
  expect_error(ErrorKind::kUser, "Name one with --images", [&] { ingest_pairs(wanted); });
  wanted = options(kLines);
  wanted.images.clear();
  expect_error(ErrorKind::kUser, "no folder of images was given", [&] { ingest_pairs(wanted); });
  wanted = options(kLines);
  wanted.captions = folder_ / "nowhere.jsonl";
  expect_error(ErrorKind::kUser, "is no file that can be read", [&] { ingest_pairs(wanted); });
  wanted.captions = folder_.path();
  expect_error(ErrorKind::kUser, "is a folder. Name a file", [&] { ingest_pairs(wanted); });
  for (const char* out : {"", ".", ".."}) {
    wanted = options(kLines);
    wanted.out = out;
    EXPECT_THROW(ingest_pairs(wanted), UserError) << out;
  }
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace triptych::test
