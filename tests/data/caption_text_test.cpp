#include "data/caption_text.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/tokenizer.h"
#include "text/training.h"

namespace triptych::test {
namespace {

std::string utf8(uint32_t code) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F))};
  if (code < 0x10000) return {byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F))};
  return {byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 0x3F)), byte(0x80 | (code >> 6 & 0x3F)),
          byte(0x80 | (code & 0x3F))};
}

TEST(CaptionText, IsMissingWhereverATokenizerFindsNoToken) {
  const CaptionSource source = [n = 0](std::string& caption) mutable {
    caption = "a picture of number " + std::to_string(n);
    return n++ < 100;
  };
  const auto tokenizer = Tokenizer::from_bytes(train_tokenizer(source, 100, {.vocabulary = 100}), "test");
  std::vector<int32_t> ids(16);
  int num_without_token = 0;
  for (uint32_t code = 0; code < 0x10000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;  // surrogates
    const std::string text = utf8(code);
    if (tokenizer->encode(text, ids) > 2) continue;
    ++num_without_token;
    EXPECT_FALSE(has_visible_text(text)) << code_points(text);
  }
  EXPECT_GT(num_without_token, 30);
}

TEST(CaptionText, IsThereWhereACharacterLeavesInk) {
  for (const char* text : {"a", ".", "  x ", "\u200b?", "猫", "é", "\u0301", "😀", "\u200d♀", "ﷺ", "0", "\u3007"}) {
    EXPECT_TRUE(has_visible_text(text)) << text;
  }
  for (const char* text : {"", " ", "\u00a0", "\u200b\ufeff", "\u2060", "\u00ad", "\ufe0f", "\u3164", "\u202e\u202c",
                           "\u3000\t\r\n", "\x01\x7f", "\u2800", "\U000e0041"}) {
    EXPECT_FALSE(has_visible_text(text)) << code_points(text);
  }
}

TEST(CaptionText, NamesCodePoints) {
  EXPECT_EQ(code_points(" \u00a0\u200b\U0001f600"), "U+0020 U+00A0 U+200B U+1F600");
  EXPECT_EQ(code_points("abcd", 3), "U+0061 U+0062 U+0063 ...");
  EXPECT_EQ(code_points("abc", 3), "U+0061 U+0062 U+0063");
  EXPECT_EQ(code_points(""), "");
}

}  // namespace
}  // namespace triptych::test
