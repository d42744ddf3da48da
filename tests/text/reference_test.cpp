// What other libraries say of kept tokenizers and texts: tests/interop/make_tokenizer_references.py.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer.h"

namespace triptych::test {
namespace {

const std::filesystem::path kFolder = TRIPTYCH_REFERENCE_FOLDER;

nlohmann::json read_json(const std::string& name) {
  return nlohmann::json::parse(read_text_file(kFolder / name, 1 << 24));
}

class KeptTokenizer : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::from_file(kFolder / GetParam());
  std::vector<std::string> texts = read_json("texts.json").get<std::vector<std::string>>();
  nlohmann::json expected = read_json(std::string(GetParam()) + ".tokens.json");
};

TEST_P(KeptTokenizer, CutsAsTheOtherLibraryDoes) {
  ASSERT_EQ(texts.size(), expected["tokens"].size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer->pieces(texts[i]), expected["tokens"][i].get<std::vector<int32_t>>()) << texts[i];
  }
}

TEST_P(KeptTokenizer, ReadsBackWhatTheOtherLibraryDoes) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer->decode(expected["tokens"][i].get<std::vector<int32_t>>()),
              expected["texts"][i].get<std::string>())
        << texts[i];
  }
}

TEST_P(KeptTokenizer, PutsAroundTextsWhatTheFileAsksFor) {
  const auto before = expected["before"].get<std::vector<int32_t>>(),
             after = expected["after"].get<std::vector<int32_t>>();
  EXPECT_TRUE(before.empty() || std::ranges::equal(tokenizer->before(), before));
  EXPECT_TRUE(after.empty() || std::ranges::equal(tokenizer->after(), after));
  for (const std::string& text : texts) {
    const std::vector<int32_t> pieces = tokenizer->pieces(text);
    std::vector<int32_t> ids(pieces.size() + tokenizer->num_around() + 3, -7);
    const auto length = static_cast<std::size_t>(tokenizer->encode(text, ids));
    ASSERT_EQ(length, ids.size() - 3);
    const auto begin = static_cast<std::ptrdiff_t>(tokenizer->before().size());
    EXPECT_TRUE(std::ranges::equal(tokenizer->before(), std::span(ids).first(tokenizer->before().size())));
    EXPECT_TRUE(std::equal(pieces.begin(), pieces.end(), ids.begin() + begin));
    EXPECT_TRUE(std::ranges::equal(
        tokenizer->after(), std::span(ids).subspan(length - tokenizer->after().size(), tokenizer->after().size())));
    for (std::size_t i = length; i < ids.size(); ++i) EXPECT_EQ(ids[i], tokenizer->special().pad);
    EXPECT_EQ(tokenizer->decode(ids), tokenizer->decode(pieces)) << text;
  }
}

TEST_P(KeptTokenizer, CutsLongTextsAndKeepsWhatStandsAround) {
  const std::string text = "a red apple on the green table of an elephant";
  const std::vector<int32_t> pieces = tokenizer->pieces(text);
  ASSERT_GT(pieces.size(), 4u);
  std::vector<int32_t> ids(tokenizer->num_around() + 4);
  EXPECT_EQ(tokenizer->encode(text, ids), static_cast<int32_t>(ids.size()));
  std::vector<int32_t> cut(tokenizer->before().begin(), tokenizer->before().end());
  cut.insert(cut.end(), pieces.begin(), pieces.begin() + 4);
  cut.insert(cut.end(), tokenizer->after().begin(), tokenizer->after().end());
  EXPECT_EQ(ids, cut);
}

TEST_P(KeptTokenizer, MakesWordsOfTokens) {
  for (const std::string& text : texts) {
    const std::vector<int32_t> pieces = tokenizer->pieces(text);
    std::size_t next = 0;
    for (const TokenWord& word : tokenizer->words(pieces)) {
      EXPECT_EQ(word.first, next);
      EXPECT_GT(word.count, 0u);
      next += word.count;
    }
    EXPECT_EQ(next, pieces.size());
  }
}

TEST_P(KeptTokenizer, IsTheSameInEveryThread) {
  std::vector<std::thread> threads;
  std::vector<int> differ(4);
  for (int& count : differ) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        count += tokenizer->pieces(texts[i]) != expected["tokens"][i].get<std::vector<int32_t>>() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differ, std::vector<int>(4, 0));
}

TEST_P(KeptTokenizer, IsReadFromItsBytes) {
  const auto again = Tokenizer::from_bytes(tokenizer->bytes(), "checkpoint");
  EXPECT_EQ(again->hash(), tokenizer->hash());
  EXPECT_EQ(again->pieces("a red apple"), tokenizer->pieces("a red apple"));
}

INSTANTIATE_TEST_SUITE_P(Reference, KeptTokenizer,
                         testing::Values("clip_merges.txt.gz", "sentencepiece_unigram.model", "sentencepiece_bpe.model",
                                         "clip.json", "bert_uncased.json", "bert_cased.json", "gpt2.json",
                                         "roberta.json", "llama3.json", "llama2.json", "llama2_without_normalizer.json",
                                         "t5.json", "xlm_roberta.json", "albert_with_bytes.json", "splits.json"),
                         [](const testing::TestParamInfo<const char*>& kind) {
                           std::string name = kind.param;
                           std::ranges::replace_if(
                               name, [](char c) { return c == '.'; }, '_');
                           return name;
                         });

TEST(KeptTokenizers, ShowWordsAsPeopleWriteThem) {
  for (const char* name : {"clip_merges.txt.gz", "sentencepiece_unigram.model", "sentencepiece_bpe.model", "clip.json",
                           "bert_cased.json", "gpt2.json", "llama2.json", "t5.json"}) {
    const auto tokenizer = Tokenizer::from_file(kFolder / name);
    std::vector<std::string> words;
    for (const TokenWord& word : tokenizer->words(tokenizer->pieces("the green été"))) {
      if (!word.text.empty()) words.push_back(word.text);
    }
    EXPECT_EQ(words, (std::vector<std::string>{"the", "green", "été"})) << name;
  }
}

TEST(KeptTokenizers, HaveTheSpecialTokensOfTheirFiles) {
  const auto special = [](const char* name) { return Tokenizer::from_file(kFolder / name)->special(); };
  const SpecialTokens bert = special("bert_uncased.json");
  EXPECT_EQ(bert.all, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(bert.pad, 0);
  EXPECT_EQ(bert.unknown, 1);
  EXPECT_EQ(bert.begin, 2);
  EXPECT_EQ(bert.end, 3);
  EXPECT_EQ(bert.mask, 4);
  const SpecialTokens gpt2 = special("gpt2.json");  // one token for all
  EXPECT_EQ(gpt2.all, std::vector<int32_t>{0});
  EXPECT_EQ(gpt2.begin, 0);
  EXPECT_EQ(gpt2.end, 0);
  EXPECT_FALSE(gpt2.unknown || gpt2.mask);
  const SpecialTokens t5 = special("sentencepiece_unigram.model");
  EXPECT_FALSE(t5.begin);
  EXPECT_EQ(t5.end, 1);
  EXPECT_THROW(Tokenizer::from_file(kFolder / "sentencepiece_unigram.model")->begin(), UserError);
  const SpecialTokens llama = special("llama2.json");  // its file puts only the begin
  EXPECT_EQ(llama.begin, 1);
  EXPECT_EQ(llama.end, 2);
}

}  // namespace
}  // namespace triptych::test
