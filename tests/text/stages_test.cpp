#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/chars_map.h"
#include "text/clip_cleaning.h"
#include "text/html_text.h"
#include "text/piece_trie.h"
#include "text/regex.h"
#include "text/sentencepiece_check.h"
#include "text/tokenizer.h"
#include "text/training.h"
#include "text/unicode.h"

namespace triptych::test {
namespace {

// Vectors of RFC 4648, section 10.
TEST(Base64, DecodesTheVectorsOfItsRfc) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"Zg==", "f"},
                                                         {"Zm8=", "fo"},
                                                         {"Zm9v", "foo"},
                                                         {"Zm9vYg==", "foob"},
                                                         {"Zm9vYmE=", "fooba"},
                                                         {"Zm9vYmFy", "foobar"}};
  for (const auto& [text, bytes] : vectors) EXPECT_EQ(decode_base64(text), bytes);
  for (const char* wrong : {"Z", "Zg=", "Zg", "Z===", "Zm9v!A==", "Zh=="}) EXPECT_FALSE(decode_base64(wrong)) << wrong;
}

TEST(ByteLevel, HasACharacterForEachByte) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string letter(character_of_byte(static_cast<uint8_t>(byte)));
    std::size_t at = 0;
    EXPECT_EQ(byte_of_character(next_character(letter, at)), byte);
    EXPECT_EQ(at, letter.size());
  }
  append_bytes_as_characters(all, " \n\u00e9");
  EXPECT_EQ(all, "\u0120\u010a\u00c3\u00a9");  // GPT-2's Ġ, Ċ, Ã, ©
  EXPECT_FALSE(byte_of_character(0x4e00));
  EXPECT_EQ(repaired_utf8("a\xe2\x82z\xff"), "a\uFFFDz\uFFFD");
}

TEST(Unicode, NormalisesAndLowersAsItsStandardSays) {
  EXPECT_EQ(normal_form("e\u0301", NormalForm::kNfc), "\u00e9");
  EXPECT_EQ(normal_form("\u00e9", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normal_form("\ufb01\u2460", NormalForm::kNfkc), "fi1");
  EXPECT_EQ(normal_form("\u32ff", NormalForm::kNfkc), "\u32ff") << "of Unicode 12.1, which the tables do not have";
  EXPECT_EQ(whole_normal_form("\u32ff", NormalForm::kNfkc), "\u4ee4\u548c");
  EXPECT_EQ(lowercase_characters("\u0391\u03a3 \u0130"), "\u03b1\u03c3 i\u0307");
  EXPECT_EQ(lowercase_text("\u0391\u03a3 \u0130"), "\u03b1\u03c2 i\u0307") << "a final sigma";
}

TEST(Unicode, KeepsClustersTogether) {
  EXPECT_EQ(grapheme_ends("a\r\nb"), (std::vector<std::size_t>{1, 3, 4}));
  EXPECT_EQ(grapheme_ends("e\u0301x"), (std::vector<std::size_t>{3, 4}));
  EXPECT_EQ(grapheme_ends("\U0001F1EB\U0001F1F7\U0001F1EB"), (std::vector<std::size_t>{8, 12}))
      << "a flag, and half a one";
}

std::vector<std::string> parts_of(const Pattern& pattern, const std::string& text) {
  std::vector<std::string> parts;
  for (const Match& match : pattern.find(text)) {
    parts.push_back((match.is_match ? "+" : "-") + text.substr(match.begin, match.end - match.begin));
  }
  return parts;
}

TEST(Pattern, FindsMatchesAndWhatLiesBetween) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(parts_of(Pattern::regex(R"(\s+(?!\S)|\s+)", "x"), "a  b "), (Parts{"-a", "+ ", "+ ", "-b", "+ "}));
  EXPECT_EQ(parts_of(Pattern::regex("^", "x"), "ab"), (Parts{"+", "-ab"}));
  EXPECT_EQ(parts_of(Pattern::regex("x*", "x"), "\u00e9x"), (Parts{"+", "-\u00e9", "+x"}));
  EXPECT_EQ(parts_of(Pattern::literal("aa", "x"), "aaab"), (Parts{"+aa", "-ab"}));
  EXPECT_EQ(parts_of(Pattern::regex("a", "x"), ""), Parts{});
  EXPECT_THROW(Pattern::regex("[", "x"), UserError);
  EXPECT_THROW(Pattern::regex(std::string(10000, 'a'), "x"), UserError);
  EXPECT_THROW(Pattern::literal("", "x"), UserError);
}

TEST(PieceTrie, FindsEveryPieceThatATextBeginsWith) {
  const PieceTrie trie({{"a", 3}, {"abc", 1}, {"ab", 2}, {"b", 0}, {"\xff", 9}});
  const auto found = [&](std::string_view text) {
    std::vector<std::pair<std::size_t, int32_t>> all;
    trie.for_prefixes(text, [&](std::size_t length, int32_t value) { all.emplace_back(length, value); });
    return all;
  };
  using Found = std::vector<std::pair<std::size_t, int32_t>>;
  EXPECT_EQ(found("abcd"), (Found{{1, 3}, {2, 2}, {3, 1}}));
  EXPECT_EQ(found("ax"), (Found{{1, 3}}));
  EXPECT_EQ(found("\xff"), (Found{{1, 9}}));
  EXPECT_EQ(found("c"), Found{});
  EXPECT_EQ(found(""), Found{});
}

// What Python's html.unescape says.
TEST(Html, UnescapesAsPythonDoes) {
  EXPECT_EQ(unescape_html("&lt;b&gt; &amp;amp; &eacute &notit; &#233; &#x1F600; &#0; &#x80;"),
            "<b> &amp; \u00e9 \u00acit; \u00e9 \U0001F600 \uFFFD \u20ac");
  EXPECT_EQ(unescape_html("a & b &nosuch; &#; &#x; &#1; &#xD800; &#99999999999;"),
            "a & b &nosuch; &#; &#x;  \uFFFD \uFFFD");
}

// What open_clip's tokenizer makes of them, with ftfy.
TEST(ClipCleaning, CleansAsOpenClipDoes) {
  EXPECT_EQ(clip_cleaned("  A  RED\tapple \r\n"), "a red apple");
  EXPECT_EQ(clip_cleaned("\u201cIt\u2019s\u201d \ufb01ne \uff21\uff22"), "\"it's\" fine ab");
  EXPECT_EQ(clip_cleaned("P&EACUTE;REZ &amp;lt;"), "p\u00e9rez <");
  EXPECT_EQ(clip_cleaned("\033[31mred\033[0m \x01\ufeff!"), "red !");
  EXPECT_EQ(clip_cleaned("\u03a3\u0391\u03a3"), "\u03c3\u03b1\u03c2");
  EXPECT_EQ(clip_cleaned(""), "");
}

std::string charsmap(std::vector<uint32_t> units, const std::string& texts) {
  units.resize(256, 0);
  const auto size = static_cast<uint32_t>(units.size() * sizeof(uint32_t));
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  bytes.append(reinterpret_cast<const char*>(units.data()), size);
  return bytes + texts;
}

TEST(CharsMap, RefusesTablesThatLeadOutside) {
  constexpr uint32_t kHasValue = 1u << 8, kValue = 1u << 31;
  const std::string text("b\0", 2);
  // The root's children are at 1 ^ letter: "a" at 96, whose value is at 96 ^ 2.
  std::vector<uint32_t> units(256, 0);
  units[0] = 1u << 10;
  units[1 ^ 'a'] = 'a' | kHasValue | 2u << 10;
  units[(1 ^ 'a') ^ 2] = kValue | 0;
  const CharsMap map(charsmap(units, text), "x");
  EXPECT_EQ(map.replacement("ax"), "b");
  EXPECT_FALSE(map.replacement("b"));
  EXPECT_FALSE(CharsMap("", "x").replacement("a"));
  EXPECT_THROW(CharsMap(charsmap(units, "b"), "x"), UserError) << "a text without its end";
  EXPECT_THROW(CharsMap(charsmap(units, std::string("\xff\0", 2)), "x"), UserError);
  EXPECT_THROW(CharsMap("abc", "x"), UserError);
  std::vector<uint32_t> far = units;
  far[0] = 300u << 10;
  EXPECT_THROW(CharsMap(charsmap(far, text), "x"), UserError) << "children outside";
  far = units;
  far[(1 ^ 'a') ^ 2] = kValue | 7;
  EXPECT_THROW(CharsMap(charsmap(far, text), "x"), UserError) << "a text outside";
  far = units;
  far[0] = 0x80000000 | 0x3ff << 10;
  EXPECT_THROW(CharsMap(charsmap(far, text), "x"), UserError) << "a value as the root, children outside";
}

// A model that is no longer sealed is checked instead: whatever a bit of it becomes, it is refused or it works.
TEST(SentencePiece, SurvivesDamageWithoutASeal) {
  std::vector<std::string> corpus{"a red square", "a green disc", "a blue cross", "ein weißes Kreuz", "赤い四角"};
  std::size_t next = 0;
  const CaptionSource source = [&](std::string& caption) {
    if (next == corpus.size()) return false;
    caption = corpus[next++];
    return true;
  };
  std::string model = train_tokenizer(source, 5, {.vocabulary = 64, .character_coverage = 1});
  model.resize(model.size() - 19);
  std::minstd_rand random(5);
  int num_taken = 0;
  for (int trial = 0; trial < 40; ++trial) {
    std::string damaged = model;
    // The pieces come first; the table of normalisation, which is most of the file, behind them.
    const std::size_t reach = trial % 2 == 0 ? 1500 : damaged.size();
    damaged[random() % reach] ^= static_cast<char>(1 << trial % 8);
    try {
      const auto tokenizer = Tokenizer::from_bytes(damaged, "damaged");
      for (const std::string& text : corpus) tokenizer->decode(tokenizer->pieces(text));
      ++num_taken;
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
    }
  }
  EXPECT_GT(num_taken, 0);
}

TEST(SentencePiece, RefusesWhatIsNoModel) {
  EXPECT_THROW(check_sentencepiece("", "x"), WorldError);
  EXPECT_THROW(check_sentencepiece("text", "x"), WorldError);
  EXPECT_THROW(check_sentencepiece(std::string("\x0a\x00", 2), "x"), UserError) << "an empty piece";
  const std::string nan(
      "\x0a\x08\x0a\x01"
      "a\x15\x00\x00\xc0\x7f",
      10);
  EXPECT_THROW(check_sentencepiece(nan, "x"), UserError) << "a score that is no number";
}

}  // namespace
}  // namespace triptych::test
