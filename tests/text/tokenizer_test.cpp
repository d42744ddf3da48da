#include "text/tokenizer.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "data/scratch_folder.h"
#include "text/own_model.h"
#include "text/training.h"

namespace triptych::test {
namespace {

std::vector<std::string> small_corpus() {
  const std::vector<std::string> colors{"red", "green", "blue", "yellow", "black"};
  const std::vector<std::string> things{"apple", "train", "face with tears of joy", "house", "Elephant", "keyboard"};
  const std::vector<std::string> chinese{"红苹果", "蓝色的火车", "笑哭了的脸", "房子和花园", "大象", "键盘"};
  std::vector<std::string> corpus;
  for (const std::string& color : colors) {
    for (std::size_t i = 0; i < things.size(); ++i) {
      corpus.push_back("a " + color + " " + things[i]);
      corpus.push_back("the " + things[i] + " is " + color);
      corpus.push_back(chinese[i]);
    }
  }
  return corpus;
}

std::string train(const std::vector<std::string>& corpus, const TokenizerTraining& options) {
  std::size_t next = 0;
  const CaptionSource source = [&](std::string& caption) {
    if (next == corpus.size()) return false;
    caption = corpus[next++];
    return true;
  };
  return train_tokenizer(source, static_cast<int64_t>(corpus.size()), options);
}

TokenizerTraining options_of(int64_t vocabulary, const std::string& model = "unigram") {
  TokenizerTraining options;
  options.vocabulary = vocabulary;
  options.model = model;
  options.character_coverage = 1;
  return options;
}

std::shared_ptr<const Tokenizer> small_tokenizer() {
  static const std::shared_ptr<const Tokenizer> tokenizer =
      Tokenizer::from_bytes(train(small_corpus(), options_of(300)), "test");
  return tokenizer;
}

TEST(Tokenizer, RoundTripsEnglishAndChinese) {
  for (const char* model : {"unigram", "bpe"}) {
    SCOPED_TRACE(model);
    const auto tokenizer = Tokenizer::from_bytes(train(small_corpus(), options_of(300, model)), "test");
    EXPECT_LE(tokenizer->size(), 300);
    EXPECT_GT(tokenizer->size(), 60);
    for (const std::string text : {"a blue apple", "笑哭了的脸", "大象 和 the train", "a"}) {
      std::vector<int32_t> ids(32);
      const int32_t length = tokenizer->encode(text, ids);
      ASSERT_GT(length, 2);
      EXPECT_EQ(ids[0], kOwnBeginId);
      EXPECT_EQ(ids[static_cast<std::size_t>(length) - 1], kOwnEndId);
      for (std::size_t i = 1; i + 1 < static_cast<std::size_t>(length); ++i) {
        EXPECT_GT(ids[i], kOwnEndId) << "pieces, none of them unknown";
        EXPECT_LT(ids[i], tokenizer->size());
      }
      for (std::size_t i = static_cast<std::size_t>(length); i < ids.size(); ++i) EXPECT_EQ(ids[i], kOwnPadId);
      EXPECT_EQ(tokenizer->decode(ids), text);
    }
  }
}

TEST(Tokenizer, LearnsPiecesLongerThanACharacter) {
  std::vector<int32_t> ids(64);
  EXPECT_LE(small_tokenizer()->encode("a yellow keyboard", ids), 8);  // 17 characters
}

TEST(Tokenizer, FoldsCaseAndWidth) {
  std::vector<int32_t> a(16), b(16);
  small_tokenizer()->encode("An ELEPHANT", a);
  small_tokenizer()->encode("an ｅｌｅｐｈａｎｔ", b);
  EXPECT_EQ(a, b);
}

TEST(Tokenizer, CutsLongTextAndKeepsTheEnd) {
  std::vector<int32_t> whole(64), cut(6), least(2);
  const std::string text = "the face with tears of joy is black and the train is green";
  const int32_t length = small_tokenizer()->encode(text, whole);
  ASSERT_GT(length, 6);
  EXPECT_EQ(small_tokenizer()->encode(text, cut), 6);
  EXPECT_TRUE(std::equal(cut.begin(), cut.end() - 1, whole.begin()));
  EXPECT_EQ(cut.back(), kOwnEndId);
  EXPECT_EQ(small_tokenizer()->encode(text, least), 2);
  EXPECT_EQ(least, (std::vector<int32_t>{kOwnBeginId, kOwnEndId}));
  // Exactly enough room, and one more.
  std::vector<int32_t> exact(static_cast<std::size_t>(length)), roomy(static_cast<std::size_t>(length) + 1);
  EXPECT_EQ(small_tokenizer()->encode(text, exact), length);
  EXPECT_EQ(small_tokenizer()->encode(text, roomy), length);
  EXPECT_EQ(exact.back(), kOwnEndId);
  EXPECT_EQ(roomy.back(), kOwnPadId);
}

TEST(Tokenizer, EmptyAndUnknownText) {
  std::vector<int32_t> ids(8);
  EXPECT_EQ(small_tokenizer()->encode("", ids), 2);
  small_tokenizer()->encode("ж", ids);
  EXPECT_NE(std::find(ids.begin(), ids.end(), kOwnUnknownId), ids.end());
}

TEST(Tokenizer, NormalizesAndKeepsWhatHasNoPiece) {
  EXPECT_EQ(small_tokenizer()->normalized("  The  ELEPHANT ｉｓ red "), "the elephant is red");
  EXPECT_EQ(small_tokenizer()->normalized("a ж train"), "a ж train");
  EXPECT_EQ(small_tokenizer()->normalized(""), "");
  // Of a text whose characters all have pieces, what is decoded from its ids.
  std::vector<int32_t> ids(64);
  const std::string text = "The face with tears of joy";
  small_tokenizer()->encode(text, ids);
  EXPECT_EQ(small_tokenizer()->normalized(text), small_tokenizer()->decode(ids));
  EXPECT_THROW(small_tokenizer()->normalized("\xff"), UserError);
}

TEST(Tokenizer, TrainsTheSameModelTwice) {
  for (const char* model : {"unigram", "bpe"}) {
    const std::string bytes = train(small_corpus(), options_of(200, model));
    EXPECT_TRUE(bytes == train(small_corpus(), options_of(200, model)));
  }
}

TEST(Tokenizer, ThinsALargeCorpusEvenly) {
  std::vector<std::string> corpus = small_corpus(), third;
  TokenizerTraining options = options_of(200);
  options.max_captions = static_cast<int64_t>(corpus.size() / 3);
  for (std::size_t i = 2; i < corpus.size(); i += 3) third.push_back(corpus[i]);
  ASSERT_EQ(corpus.size() % 3, 0u);
  EXPECT_TRUE(train(corpus, options) == train(third, options_of(200)));
}

TEST(Tokenizer, LoadsFromAFileWhatWasSaved) {
  const test::ScratchFolder folder;
  write_file_atomically(folder / "tokenizer.model", small_tokenizer()->bytes());
  const auto loaded = Tokenizer::from_file(folder / "tokenizer.model");
  EXPECT_EQ(loaded->hash(), small_tokenizer()->hash());
  std::vector<int32_t> a(32), b(32);
  EXPECT_EQ(loaded->encode("a red house", a), small_tokenizer()->encode("a red house", b));
  EXPECT_EQ(a, b);
}

TEST(Tokenizer, RefusesWhatIsNoModel) {
  EXPECT_THROW(Tokenizer::from_bytes("", "test"), WorldError);
  EXPECT_THROW(Tokenizer::from_bytes("no model at all", "test"), WorldError);
  EXPECT_THROW(Tokenizer::from_bytes(std::string(1000, '\0'), "test"), WorldError);
  const std::string& whole = small_tokenizer()->bytes();
  EXPECT_THROW(Tokenizer::from_bytes(whole.substr(0, whole.size() / 2), "test"), WorldError);
  const test::ScratchFolder folder;
  EXPECT_THROW(Tokenizer::from_file(folder / "absent.model"), UserError);
  EXPECT_THROW(Tokenizer::from_file(folder.path()), UserError) << "a folder";
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  std::vector<int32_t> ids(8);
  EXPECT_THROW(small_tokenizer()->encode("caf\xe9", ids), UserError);
  std::vector<std::string> corpus = small_corpus();
  corpus[10] = "caf\xe9";
  EXPECT_THROW(train(corpus, options_of(200)), UserError);
}

TEST(Tokenizer, RefusesImpossibleTrainings) {
  EXPECT_THROW(train({}, options_of(200)), UserError);
  EXPECT_THROW(train({"", "  "}, options_of(200)), UserError);
  EXPECT_THROW(train(small_corpus(), options_of(1)), UserError);
  EXPECT_THROW(train(small_corpus(), options_of(200, "words")), UserError);
  TokenizerTraining options = options_of(200);
  options.character_coverage = 1.5;
  EXPECT_THROW(train(small_corpus(), options), UserError);
  for (const char* model : {"unigram", "bpe"}) {
    try {  // fewer pieces than characters
      train(small_corpus(), options_of(20, model));
      FAIL();
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("20 pieces"), std::string::npos) << error.what();
    }
  }
}

TEST(Tokenizer, PassesOnAnErrorOfItsSource) {
  int calls = 0;
  const CaptionSource source = [&](std::string& caption) {
    if (++calls == 5) throw WorldError("disk", "gone.");
    caption = "a caption";
    return true;
  };
  EXPECT_THROW(train_tokenizer(source, 100, options_of(200)), WorldError);
}

TEST(Tokenizer, MakesFewerPiecesOutOfLittleText) {
  const auto tokenizer = Tokenizer::from_bytes(train({"one small caption", "and one more"}, options_of(8192)), "test");
  EXPECT_LT(tokenizer->size(), 200);
  tokenizer->check_fits(tokenizer->size());
  tokenizer->check_fits(8192);
  EXPECT_THROW(tokenizer->check_fits(tokenizer->size() - 1), UserError);
}

TEST(Tokenizer, RefusesIdsOutOfRange) {
  const auto beyond = static_cast<int32_t>(small_tokenizer()->size());
  EXPECT_THROW(small_tokenizer()->decode(std::vector<int32_t>{beyond}), UserError);
  EXPECT_THROW(small_tokenizer()->decode(std::vector<int32_t>{-1}), UserError);
  EXPECT_THROW(small_tokenizer()->piece(beyond), UserError);
  EXPECT_EQ(small_tokenizer()->piece(kOwnEndId), "</s>");
}

// SentencePiece itself loads such models, and reads where they say.
TEST(Tokenizer, RefusesMutatedModels) {
  const std::string& whole = small_tokenizer()->bytes();
  std::minstd_rand random(3);
  for (int trial = 0; trial < 100; ++trial) {
    std::string mutated = whole;
    mutated[random() % mutated.size()] ^= static_cast<char>(1 << trial % 8);
    EXPECT_THROW(Tokenizer::from_bytes(mutated, "test"), WorldError);
  }
  // Without its checksum it is a model like any other, whose tables are checked instead.
  const test::ScratchFolder folder;
  const std::string bare = whole.substr(0, whole.size() - 19);
  write_file_atomically(folder / "bare.model", bare);
  write_file_atomically(folder / "whole.model", whole);
  EXPECT_FALSE(is_own_tokenizer(folder / "bare.model"));
  EXPECT_TRUE(is_own_tokenizer(folder / "whole.model"));
  EXPECT_EQ(Tokenizer::from_bytes(bare, "test")->pieces("a red apple"), small_tokenizer()->pieces("a red apple"));
}

}  // namespace
}  // namespace triptych::test
