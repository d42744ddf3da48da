#include "base/name_pattern.h"

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using Pieces = std::vector<std::string>;

TEST(NamePattern, AStarStandsForAnyCharacters) {
  EXPECT_EQ(match_pattern("image.blocks.3.out.bias", "image.blocks.3.out.bias"), Pieces());
  EXPECT_EQ(match_pattern("*", "image.blocks.3"), Pieces{"image.blocks.3"});
  EXPECT_EQ(match_pattern("*", ""), Pieces{""});
  EXPECT_EQ(match_pattern("image.*", "image."), Pieces{""});
  EXPECT_EQ(match_pattern("image.*.bias", "image.blocks.3.out.bias"), Pieces{"blocks.3.out"});
  EXPECT_EQ(match_pattern("*.blocks.*.bias", "a.blocks.b.blocks.c.bias"), (Pieces{"a", "b.blocks.c"}));
  EXPECT_EQ(match_pattern("*a*b", "xaab"), (Pieces{"x", "a"}));
  EXPECT_EQ(match_pattern("**", "ab"), (Pieces{"", "ab"}));
  EXPECT_EQ(match_pattern("", ""), Pieces());
}

TEST(NamePattern, WhatIsNotThereDoesNotMatch) {
  EXPECT_EQ(match_pattern("", "a"), std::nullopt);
  EXPECT_EQ(match_pattern("a", ""), std::nullopt);
  EXPECT_EQ(match_pattern("image", "image.blocks"), std::nullopt);
  EXPECT_EQ(match_pattern("image.*.bias", "image.bias"), std::nullopt) << "two dots, found one";
  EXPECT_EQ(match_pattern("*.weight", "norm.weights"), std::nullopt);
  EXPECT_EQ(match_pattern("*a*a*", "bab"), std::nullopt);
  EXPECT_EQ(match_pattern("image.blocks.1", "image.blocks.?"), std::nullopt);
}

// By recursion over what a `*` could take: another way to say the same.
bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') return matches(pattern.substr(1), name) || (!name.empty() && matches(pattern, name.substr(1)));
  return !name.empty() && pattern[0] == name[0] && matches(pattern.substr(1), name.substr(1));
}

TEST(NamePattern, AgreesWithTheDefinitionOnAllShortTexts) {
  const auto texts = [](std::string_view letters, int length) {
    std::vector<std::string> all{""};
    for (std::size_t i = 0; static_cast<int>(all[i].size()) < length; ++i) {
      for (const char c : letters) all.push_back(all[i] + c);
    }
    return all;
  };
  int count = 0;
  for (const std::string& pattern : texts("ab*", 5)) {
    for (const std::string& name : texts("ab", 6)) {
      const auto pieces = match_pattern(pattern, name);
      ASSERT_EQ(pieces.has_value(), matches(pattern, name)) << pattern << " and " << name;
      if (!pieces) continue;
      ++count;
      std::string filled;  // the pieces in place of the stars give the name
      std::size_t next = 0;
      for (const char c : pattern) filled += c == '*' ? (*pieces)[next++] : std::string(1, c);
      EXPECT_EQ(filled, name) << pattern;
    }
  }
  EXPECT_GT(count, 1000);
}

TEST(NamePattern, AMisspeltOneIsAnsweredWithTheNearest) {
  const std::vector<std::string> names{"image.blocks.0.out.bias", "image.embed.positions", "text.blocks.0.out.bias"};
  EXPECT_EQ(nearest_pattern("image.block.*", names), "image.blocks.*");
  EXPECT_EQ(nearest_pattern("imgae.*", names), "image.*");
  EXPECT_EQ(nearest_pattern("image.embed.position", names), "image.embed.positions");
  EXPECT_EQ(nearest_pattern("something.else.entirely", names), "");
}

}  // namespace
}  // namespace triptych::test
