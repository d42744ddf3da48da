// What a tokenizer.json may ask for that is not supported, or is unsound: each is named, none is passed over.

#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer.h"

namespace triptych::test {
namespace {

using nlohmann::json;

json small_file() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true},
                     {"id": 5, "content": "[END]", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[END]", "type_id": 0}}],
                       "pair": [], "special_tokens": {"[END]": {"id": "[END]", "ids": [5], "tokens": ["[END]"]}}},
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
              "vocab": {"[UNK]": 0, "a": 1, "b": 2, "c": 3, "ab": 4}, "merges": [["a", "b"]]}
  })");
}

std::shared_ptr<const Tokenizer> read(const json& file) {
  return Tokenizer::from_bytes(file.dump(), "file.json");
}

using Ids = std::vector<int32_t>;

TEST(TokenizerJson, ReadsASmallOne) {
  const auto tokenizer = read(small_file());
  EXPECT_EQ(tokenizer->size(), 6);
  EXPECT_EQ(tokenizer->kind(), "tokenizer.json (BPE)");
  EXPECT_EQ(tokenizer->pieces("ABc x"), (Ids{4, 3, 0}));
  EXPECT_EQ(tokenizer->pieces("a[END]b"), (Ids{1, 5, 2}));
  Ids ids(5);
  EXPECT_EQ(tokenizer->encode("abc", ids), 3);
  EXPECT_EQ(ids, (Ids{4, 3, 5, 5, 5})) << "no padding is named, so the end pads";
}

TEST(TokenizerJson, TakesMergesAsOneText) {
  json file = small_file();
  file["model"]["merges"] = {"a b"};
  EXPECT_EQ(read(file)->pieces("ab"), Ids{4});
}

TEST(TokenizerJson, PadsAndCutsAsTheFileSays) {
  json file = small_file();
  file["padding"] = {
      {"strategy", "BatchLongest"}, {"direction", "Right"}, {"pad_to_multiple_of", nullptr}, {"pad_id", 3},
      {"pad_type_id", 0},           {"pad_token", "c"}};
  file["truncation"] = {{"direction", "Right"}, {"max_length", 3}, {"strategy", "LongestFirst"}, {"stride", 0}};
  Ids ids(6);
  EXPECT_EQ(read(file)->encode("a b a b", ids), 3);
  EXPECT_EQ(ids, (Ids{1, 2, 5, 3, 3, 3}));
}

// A change of the small file, and a word of the error that it must give.
struct Refusal {
  const char* word;
  std::function<void(json&)> change;
};

TEST(TokenizerJson, RefusesWhatIsNotSupportedByName) {
  const Refusal refusals[] = {
      {"extra", [](json& f) { f["extra"] = 1; }},
      {"version", [](json& f) { f["version"] = "2.0"; }},
      {"WordLevel", [](json& f) { f["model"]["type"] = "WordLevel"; }},
      {"dropout", [](json& f) { f["model"]["dropout"] = 0.1; }},
      {"model.other", [](json& f) { f["model"]["other"] = true; }},
      {"byte_fallback", [](json& f) { f["model"]["byte_fallback"] = 1; }},
      {"`zz`",
       [](json& f) {
         f["model"]["merges"].push_back({"a", "zz"});
       }},
      {"`bc`",
       [](json& f) {
         f["model"]["merges"].push_back({"b", "c"});
       }},
      {"merges", [](json& f) { f["model"]["merges"].push_back("a b c"); }},
      {"[NONE]", [](json& f) { f["model"]["unk_token"] = "[NONE]"; }},
      {"model.vocab", [](json& f) { f["model"]["vocab"]["d"] = 4; }},
      {"model.vocab", [](json& f) { f["model"]["vocab"]["d"] = -1; }},
      {"model.vocab", [](json& f) { f["model"]["vocab"]["d"] = 1 << 20; }},
      {"Byt3Level", [](json& f) { f["normalizer"]["type"] = "Byt3Level"; }},
      {"normalizer.left",
       [](json& f) {
         f["normalizer"] = {{"type", "NFC"}, {"left", true}};
       }},
      {"regular expressions",
       [](json& f) {
         f["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(a"}}}, {"content", ""}};
       }},
      {"pattern",
       [](json& f) {
         f["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Glob", "a"}}}, {"content", ""}};
       }},
      {"precompiled_charsmap",
       [](json& f) {
         f["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}};
       }},
      {"precompiled charsmap",
       [](json& f) {
         f["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AAQAAAAA"}};
       }},
      {"normalizers[1].type",
       [](json& f) {
         f["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "What"}}}}};
       }},
      {"UnicodeScripts", [](json& f) { f["pre_tokenizer"]["type"] = "UnicodeScripts"; }},
      {"behavior",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Up"}};
       }},
      {"prepend_scheme",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "last"}};
       }},
      {"CTC", [](json& f) { f["decoder"]["type"] = "CTC"; }},
      {"post_processor.type", [](json& f) { f["post_processor"]["type"] = "Other"; }},
      {"single",
       [](json& f) {
         f["post_processor"]["single"].push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
       }},
      {"special_tokens", [](json& f) { f["post_processor"]["special_tokens"] = json::object(); }},
      {"post_processor", [](json& f) { f["post_processor"]["special_tokens"]["[END]"]["ids"] = {9}; }},
      {"added_tokens[1].id", [](json& f) { f["added_tokens"][1]["id"] = 7; }},
      {"added_tokens[1].content", [](json& f) { f["added_tokens"][1]["content"] = ""; }},
      {"truncation.direction",
       [](json& f) {
         f["truncation"] = {{"direction", "Left"}, {"max_length", 3}, {"strategy", ""}, {"stride", 0}};
       }},
      {"padding.direction",
       [](json& f) {
         f["padding"] = {{"direction", "Left"}, {"pad_id", 0}};
       }},
      {"padding.pad_id",
       [](json& f) {
         f["padding"] = {{"direction", "Right"}, {"pad_id", 6}};
       }},
  };
  for (const Refusal& refusal : refusals) {
    json file = small_file();
    refusal.change(file);
    try {
      read(file);
      ADD_FAILURE() << refusal.word << " is passed over: " << file.dump();
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(refusal.word), std::string::npos) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with("[file.json]")) << error.what();
    }
  }
}

TEST(TokenizerJson, RefusesWhatIsNoJson) {
  EXPECT_THROW(Tokenizer::from_bytes("{\"version\": ", "file.json"), WorldError);
  EXPECT_THROW(Tokenizer::from_bytes("{\"a\": 1, \"a\": 2}", "file.json"), WorldError);
  EXPECT_THROW(Tokenizer::from_bytes("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}", "x"), WorldError);
}

TEST(TokenizerJson, GivesUpAnExpressionThatNeverEnds) {
  json file = small_file();
  file["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a|a|a)*\\1$"}}}, {"behavior", "Isolated"}};
  EXPECT_THROW(read(file)->pieces(std::string(60, 'a') + "b"), UserError);
}

TEST(TokenizerJson, WordPieceTakesTheLongestPieces) {
  json file = small_file();
  file["model"] = {{"type", "WordPiece"},
                   {"unk_token", "[UNK]"},
                   {"continuing_subword_prefix", "##"},
                   {"max_input_chars_per_word", 5},
                   {"vocab", {{"[UNK]", 0}, {"a", 1}, {"ab", 2}, {"##b", 3}, {"##\u00e9", 4}}}};
  file["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  const auto tokenizer = read(file);
  EXPECT_EQ(tokenizer->pieces("abb ab\u00e9 ac aaaaaa"), (Ids{2, 3, 2, 4, 0, 0}));
  EXPECT_EQ(tokenizer->decode(Ids{2, 3, 1}), "abb a");
}

TEST(TokenizerJson, UnigramTakesTheLikeliestCut) {
  json file = small_file();
  file["pre_tokenizer"] = nullptr;
  file["model"] = {{"type", "Unigram"},
                   {"unk_id", 0},
                   {"vocab", json::parse(R"([["[UNK]", -9], ["a", -1.5], ["b", -1.25], ["ab", -3], ["abc", -4.5]])")}};
  const auto tokenizer = read(file);
  EXPECT_EQ(tokenizer->pieces("ab"), (Ids{1, 2})) << "-2.75 for two, -3 for one";
  EXPECT_EQ(tokenizer->pieces("abc"), Ids{4});
  EXPECT_EQ(tokenizer->pieces("xyza"), (Ids{0, 1})) << "unknown neighbours are one";
}

}  // namespace
}  // namespace triptych::test
