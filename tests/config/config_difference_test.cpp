#include "config/config_difference.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/config_reader.h"

namespace triptych::test {
namespace {

std::vector<std::string> lines_of(std::string_view then, std::string_view now, std::string_view defaults = "") {
  std::vector<std::string> lines;
  for (const ConfigDifference& difference : compare_configs(then, now, defaults))
    lines.push_back(difference.describe());
  return lines;
}

using Lines = std::vector<std::string>;

TEST(ConfigDifference, ComparesValuesAndNotHowTheyAreWritten) {
  EXPECT_EQ(lines_of("[a]\nb = 1e-3 # old words\nc = [1, 2]\n", "a.c = [ 1, 2 ]\na.b = 0.001"), Lines{});
  EXPECT_EQ(lines_of("a = 1", "a = 1.0"), Lines{});
  EXPECT_EQ(lines_of("a = 1\nb = \"x\"\nc = [1, 2]\nd = true", "a = 2\nb = \"y\"\nc = [1]\nd = false"),
            (Lines{"a: 1 -> 2", "b: \"x\" -> \"y\"", "c: [1, 2] -> [1]", "d: true -> false"}));
  EXPECT_EQ(lines_of("a = 1", "a = \"1\""), Lines{"a: 1 -> \"1\""});
}

TEST(ConfigDifference, LongTextsDifferThoughTheirBeginningsAreShown) {
  const std::string text(300, 'x');
  EXPECT_EQ(lines_of("a = \"" + text + "1\"", "a = \"" + text + "2\"").size(), 1u);
}

TEST(ConfigDifference, AKeyThatWasNotThereHadItsDefault) {
  EXPECT_EQ(lines_of("a = 1", "a = 1\nnew = 3", "a = 0\nnew = 3"), Lines{});
  EXPECT_EQ(lines_of("a = 1", "a = 1\nnew = 4", "a = 0\nnew = 3"), Lines{"new: 3 (the default) -> 4"});
  EXPECT_EQ(lines_of("a = 1", "a = 1\nnew = 4"), Lines{"new: not there -> 4"});
  EXPECT_EQ(lines_of("a = 1\nold = 5", "a = 1"), Lines{"old: 5 -> gone"});
}

TEST(ConfigDifference, DefaultsAreThoseOfTheBindings) {
  ConfigReader reader = ConfigReader::from_text("a.b = 7\nd = \"z\"", "x.toml");
  int64_t b = 2;
  std::string d = "y";
  reader.read("a.b", b, "A number.");
  reader.read("d", d, "A text.");
  EXPECT_EQ(lines_of(reader.default_toml(), reader.effective_toml()), (Lines{"a.b: 2 -> 7", "d: \"y\" -> \"z\""}));
}

}  // namespace
}  // namespace triptych::test
