#include "base/text.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using namespace std::string_literals;

TEST(IsUtf8, TakesTheFirstAndLastCodePointOfEveryLength) {
  for (const std::string& text : {
           ""s,
           "\0\x7f"s,
           "\xc2\x80"s,          // U+0080
           "\xdf\xbf"s,          // U+07FF
           "\xe0\xa0\x80"s,      // U+0800
           "\xed\x9f\xbf"s,      // U+D7FF, before the surrogates
           "\xee\x80\x80"s,      // U+E000, after them
           "\xef\xbf\xbf"s,      // U+FFFF
           "\xf0\x90\x80\x80"s,  // U+10000
           "\xf4\x8f\xbf\xbf"s,  // U+10FFFF
           "a\xc3\xa9\xe4\xb8\x89\xf0\x9f\x8d\x8e z"s,
       }) {
    EXPECT_TRUE(is_utf8(text)) << ::testing::PrintToString(text);
  }
}

TEST(IsUtf8, RefusesWhatRfc3629Forbids) {
  for (const std::string& text : {
           "\x80"s,
           "\xbf"s,  // a continuation alone
           "\xc2"s,
           "a\xe4\xb8"s,
           "\xf0\x9f\x8d"s,  // cut short
           "\xc2z"s,
           "\xe4z\x89"s,
           "\xe4\xb8z"s,
           "\xf0\x9fz!"s,  // a continuation is missing
           "\xc0\x80"s,
           "\xc1\xbf"s,          // overlong, two bytes
           "\xe0\x9f\xbf"s,      // overlong, three
           "\xf0\x8f\xbf\xbf"s,  // overlong, four
           "\xed\xa0\x80"s,
           "\xed\xbf\xbf"s,  // surrogates
           "\xf4\x90\x80\x80"s,
           "\xf5\x80\x80\x80"s,  // beyond U+10FFFF
           "\xf8\x88\x80\x80\x80"s,
           "\xfe"s,
           "\xff"s,
           "\xc3\xa9\xc3"s,
       }) {
    EXPECT_FALSE(is_utf8(text)) << ::testing::PrintToString(text);
  }
}

TEST(NearestWord, SuggestsTheLeastEdited) {
  const std::vector<std::string> words{"global_batch", "steps", "stop_after", "precision", "clip_norm"};
  EXPECT_EQ(nearest_word("globalbatch", words), "global_batch");
  EXPECT_EQ(nearest_word("step", words), "steps");
  EXPECT_EQ(nearest_word("setps", words), "steps") << "exchanged neighbours are one edit";
  EXPECT_EQ(nearest_word("percision", words), "precision");
  EXPECT_EQ(nearest_word("steps", words), "steps");
}

TEST(NearestWord, SuggestsNothingThatIsFar) {
  const std::vector<std::string> words{"global_batch", "steps"};
  EXPECT_EQ(nearest_word("temperature", words), "");
  EXPECT_EQ(nearest_word("temperature", {}), "");
}

TEST(Printable, WritesOutWhatATerminalActsOn) {
  EXPECT_EQ(printable("\x1b[2J\x07\r\x7f"), "\\x1b[2J\\x07\\x0d\\x7f");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\u009b2J")
      << "the C1 form of ESC [";
  EXPECT_EQ(printable("\xe2\x80\xaegnp.exe"), "\\u202egnp.exe") << "right-to-left override";
  EXPECT_EQ(printable("\xe2\x81\xa6\xe2\x80\xa8\xd8\x9c"), "\\u2066\\u2028\\u061c");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3") << "no UTF-8";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
}

TEST(Printable, LeavesTextAsItIs) {
  for (const std::string text : {"", "two\nlines\tand a tab", "Grüße, 世界 🐈", "\xc2\xa0", "~", "\\x1b"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(HumanBytes, PicksTheUnit) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.00 KiB");
  EXPECT_EQ(human_bytes(1.5 * (1 << 30)), "1.50 GiB");
  EXPECT_EQ(human_bytes(0x1p51), "2048.00 TiB");
}

}  // namespace
}  // namespace triptych::test
