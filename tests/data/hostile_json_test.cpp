#include <string>

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
  EXPECT_EQ(parse_pair_line(R"({"caption": "a", "other": )" + nested_lists() + "}").ignored_keys.size(), 1U);
}

TEST(HostileJson, ALongValueIsToldInFewWords) {
  const std::string line = R"({"caption": "a", "id": ")" + std::string(100000, 'x') + "\"}";
  try {
    parse_pair_line(line);
    FAIL() << "a string is no id";
  } catch (const UserError& error) {
    EXPECT_LT(std::string(error.what()).size(), 300U);
  }
}

}  // namespace
}  // namespace triptych::test
