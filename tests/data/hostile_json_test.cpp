#include <string>

#include "base/text.h"
#include "data/index_file.h"
#include "data/pair_line.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

/// Lists within lists, more than a stack of 8 MiB could be called through.
std::string nested_lists() {
  constexpr std::size_t kLevels = 300000;
  return std::string(kLevels, '[') + std::string(kLevels, ']');
}

TEST(HostileJson, AnIndexThatNestsWithoutEndIsRefused) {
  const ScratchFolder folder;
  write_text(folder / "index.json",
             R"({"format": "triptych-index", "version": 1, "checksum": "x", "shards": )" + nested_lists() + "}");
  expect_error(ErrorKind::kWorld, "must nest at most 8 levels", [&] { read_index(folder.path()); });
}

TEST(HostileJson, ALineThatNestsWithoutEndIsRefusedInFewWords) {
  for (const std::string key : {"id", "label"}) {
    expect_error(ErrorKind::kUser, "found array",
                 [&] { parse_pair_line(R"({"caption": "a", ")" + key + "\": " + nested_lists() + "}"); });
  }
  // Other keys are passed over, whatever they hold.
  EXPECT_EQ(parse_pair_line(R"({"caption": "a", "other": )" + nested_lists() + "}").ignored.size(), 1U);
}

TEST(HostileJson, ALongValueOrKeyIsToldInFewWords) {
  std::string letters;
  for (int k = 0; k < 50000; ++k) letters += "\u00e9";  // two bytes each, so that a cut may fall within one
  for (const std::string& word : {std::string(100000, 'x'), letters, "x" + letters}) {
    const std::string pair = '"' + word + "\": 1";
    for (const std::string& line : {R"({"caption": "a", "id": ")" + word + "\"}", "{" + pair + ", " + pair + "}",
                                    "{" + pair + "}", R"({"image": "a.png", "text": "a", )" + pair + "}"}) {
      try {
        parse_pair_line(line);
        FAIL() << "taken: " << line.substr(0, 30);
      } catch (const UserError& error) {
        EXPECT_LT(std::string(error.what()).size(), 400U) << line.substr(0, 30);
        EXPECT_TRUE(is_utf8(error.what())) << line.substr(0, 30);
      }
    }
  }
}

TEST(HostileJson, AnIndexNamesNoFileThatCannotBe) {
  const ScratchFolder folder;
  // The checksum is looked at first, so each is written as the program would.
  for (const std::string& file :
       {std::string("a\0b", 3), std::string(256, 'a'), std::string("a/b"), std::string("..")}) {
    DatasetIndex index;
    index.data_set_id = "a";
    index.shards.emplace_back().file = file;
    write_index(folder.path(), index);
    expect_error(ErrorKind::kWorld, "must be a plain name in this folder", [&] { read_index(folder.path()); });
  }
}

}  // namespace
}  // namespace triptych::test
