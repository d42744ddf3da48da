// Questions with answers, phrases and captions of one data set: each row is about texts of one role alone.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "data/part_counts.h"
#include "loader_support.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

constexpr uint64_t kCount = 24;

/// Sample i has, by turns: a caption; a caption, a question with two answers and one with one; a question without an
/// answer; a question with one answer alone.
SmallSample asked_sample(uint64_t i) {
  using enum TextRole;
  SmallSample sample;
  const std::string number = std::to_string(i);
  if (i % 4 != 3) sample.image = sound_image(i);
  switch (i % 4) {
    case 0:
      sample.captions = {"picture of number " + number};
      break;
    case 1:
      sample.captions = {"picture", "a number " + number, "one", "another", "a picture of one", "another one"};
      sample.roles = {kCaption, kQuestion, kAnswer, kAnswer, kQuestion, kAnswer};
      break;
    case 2:
      sample.captions = {"a picture of another", "picture"};
      sample.roles = {kQuestion, kPhrase};
      break;
    default:
      sample.captions = {"another picture", "of number " + number};
      sample.roles = {kQuestion, kAnswer};
  }
  return sample;
}

std::shared_ptr<const Dataset> asked_set() {
  static const ScratchFolder folder;
  static const auto set = make_data_set(folder / "asked", kCount, asked_sample);
  return set;
}

/// What a filler saw, by the row's own words.
struct Seen {
  uint64_t sample = 0;
  std::optional<uint32_t> caption;
  std::string text;
  std::vector<std::string> answers;
};

/// A source of one field, the number of answers, whose filler notes what it sees.
FieldSource noting(std::vector<Seen>& seen) {
  class Notes : public RowFiller {
   public:
    explicit Notes(std::vector<Seen>& seen) : seen_(seen) {}
    void fill(const LoadedSample& sample, FieldRows rows) override {
      const std::vector<std::string_view> answers = sample.answers();
      seen_.push_back(
          {sample.sample, sample.caption, std::string(sample.caption_text()), {answers.begin(), answers.end()}});
      values_of<int32_t>(rows[0])[0] = static_cast<int32_t>(answers.size());
    }
    void clear(FieldRows rows) override { values_of<int32_t>(rows[0])[0] = -1; }

   private:
    std::vector<Seen>& seen_;
  };
  return {.fields = {{.name = "num_answers", .dtype = DType::kInt32}},
          .reads = SampleParts::kCaptions,
          .make = [&seen] { return std::make_unique<Notes>(seen); },
          .synthesize = {}};
}

LoaderOptions options_of(TextRole role, std::vector<FieldSource> fields) {
  LoaderOptions options;
  options.fields = std::move(fields);
  options.global_batch = 8;
  options.seed = 2;
  options.text_role = role;
  return options;
}

TEST(TextRole, RowsAreAboutTextsOfTheRole) {
  for (const TextRole role : {TextRole::kCaption, TextRole::kQuestion, TextRole::kAnswer, TextRole::kPhrase}) {
    SCOPED_TRACE(text_role_name(role));
    std::vector<Seen> seen;
    LoaderOptions options = options_of(role, {noting(seen), presence_fields()});
    std::map<uint64_t, std::set<uint32_t>> texts;  // that rows of a sample were about
    for (const Batch& batch : take(asked_set(), options, 60)) {
      for (int64_t r = 0; r < batch.num_rows(); ++r) {
        const SmallSample sample = asked_sample(batch.sample_ids[static_cast<std::size_t>(r)]);
        const bool has_text =
            sample.roles.empty() ? role == TextRole::kCaption : std::ranges::count(sample.roles, role) != 0;
        EXPECT_EQ(batch.row<uint8_t>("text_present", r)[0], has_text);
        EXPECT_EQ(batch.row<uint8_t>("image_present", r)[0], !sample.image.empty());
      }
    }
    for (const Seen& row : seen) {
      const SmallSample sample = asked_sample(row.sample);
      if (!row.caption) {
        EXPECT_TRUE(row.text.empty() && row.answers.empty());
        continue;
      }
      EXPECT_EQ(sample.roles.empty() ? TextRole::kCaption : sample.roles[*row.caption], role);
      EXPECT_EQ(row.text, sample.captions[*row.caption]);
      texts[row.sample].insert(*row.caption);
      std::vector<std::string> answers;
      for (std::size_t k = *row.caption + 1; role == TextRole::kQuestion && k < sample.captions.size(); ++k) {
        if (sample.roles[k] != TextRole::kAnswer) break;
        answers.push_back(sample.captions[k]);
      }
      EXPECT_EQ(row.answers, answers);
    }
    // In 60 batches of 8 of 24, each sample comes 20 times, and so shows all it has of the role.
    for (uint64_t i = 0; i < kCount; ++i) {
      const SampleRecord record = asked_set()->record(i);
      EXPECT_EQ(texts[i].size(), record.num_texts(role)) << i;
    }
  }
}

TEST(TextRole, EvaluationsGoThroughTheTextsOfTheRole) {
  std::vector<Seen> seen;
  LoaderOptions options = options_of(TextRole::kQuestion, {noting(seen)});
  options.training = false;
  Loader first(asked_set(), options);
  ASSERT_EQ(first.num_steps(), 3);
  for (int64_t step = 0; step < 3; ++step) first.next();
  ASSERT_EQ(seen.size(), kCount);
  for (const Seen& row : seen) {
    const std::array<std::optional<uint32_t>, 4> expected{std::nullopt, 1, 0, 0};
    EXPECT_EQ(row.caption, expected[row.sample % 4]);
  }

  seen.clear();
  options.items = EvaluationItems::kCaptions;
  Loader all(asked_set(), options);
  ASSERT_EQ(all.num_steps(), 3);  // 24 questions
  std::vector<std::pair<uint64_t, uint32_t>> found, expected;
  for (int64_t step = 0; step < 3; ++step) {
    const Batch batch = all.next();
    for (std::size_t r = 0; r < 8; ++r) found.emplace_back(batch.sample_ids[r], batch.caption_numbers[r]);
  }
  for (uint64_t i = 0; i < kCount; ++i) {
    const SmallSample sample = asked_sample(i);
    for (uint32_t k = 0; k < sample.roles.size(); ++k) {
      if (sample.roles[k] == TextRole::kQuestion) expected.emplace_back(i, k);
    }
  }
  EXPECT_EQ(found, expected);
  options.text_role = TextRole::kPhrase;
  EXPECT_EQ(Loader(asked_set(), options).num_steps(), 1);  // six of them
  LoaderOptions none = options_of(TextRole::kQuestion, {});
  none.training = false;
  none.items = EvaluationItems::kCaptions;
  expect_error(ErrorKind::kUser, "an evaluation over questions needs some", [&] { Loader(folders().sound, none); });
}

/// Token by token: begin, the question's, the first answer's, end; each text as it is encoded alone.
void expect_answered(const Batch& batch, int64_t row, const std::string& question, const std::string& answer) {
  const std::span<const int32_t> tokens = batch.row<int32_t>("tokens", row),
                                 targets = batch.row<int32_t>("targets", row);
  const auto pieces = [](const std::string& text) {
    std::array<int32_t, 64> ids{};
    const auto count = static_cast<std::size_t>(folders().tokenizer->encode(text, ids));
    return std::vector<int32_t>(ids.begin() + 1, ids.begin() + static_cast<std::ptrdiff_t>(count) - 1);
  };
  const std::vector<int32_t> asked = pieces(question);
  std::vector<int32_t> said = pieces(answer), expected{kOwnBeginId};
  said.resize(std::min(said.size(), tokens.size() - 2));
  const std::size_t room = tokens.size() - 2 - said.size();
  expected.insert(expected.end(), asked.begin(),
                  asked.begin() + static_cast<std::ptrdiff_t>(std::min(asked.size(), room)));
  const std::size_t last_asked = expected.size() - 1;
  expected.insert(expected.end(), said.begin(), said.end());
  expected.push_back(kOwnEndId);
  EXPECT_EQ(batch.row<int32_t>("lengths", row)[0], static_cast<int32_t>(expected.size()));
  std::vector<int32_t> taught(tokens.size(), -1);
  for (std::size_t t = last_asked; t + 1 < expected.size(); ++t) taught[t] = expected[t + 1];
  expected.resize(tokens.size(), kOwnPadId);
  EXPECT_TRUE(std::ranges::equal(tokens, expected));
  EXPECT_TRUE(std::ranges::equal(targets, taught));
}

TEST(TextRole, AnswersFollowTheirQuestions) {
  const TextOptions with_answer{.targets = true, .with_answer = true};
  for (const int64_t length : {64, 11}) {  // the second too short for some questions and answers
    const FieldSource text = text_fields(folders().tokenizer, length, 100, with_answer);
    int num_answered = 0, num_alone = 0;
    std::vector<Seen> seen;
    for (const Batch& batch :
         take(asked_set(), options_of(TextRole::kQuestion, {text, noting(seen), presence_fields()}), 12)) {
      for (int64_t r = 0; r < batch.num_rows(); ++r) {
        const uint64_t i = batch.sample_ids[static_cast<std::size_t>(r)];
        SCOPED_TRACE(i);
        const auto row = std::ranges::find_if(seen, [&](const Seen& s) { return s.sample == i && !s.answers.empty(); });
        if (i % 4 == 3) {
          ASSERT_NE(row, seen.end());
          expect_answered(batch, r, row->text, row->answers[0]);
          ++num_answered;
        } else if (i % 4 == 1) {  // either of its two questions, which begin with different pieces
          const bool is_first = batch.row<int32_t>("num_answers", r)[0] == 2;
          const SmallSample sample = asked_sample(i);
          expect_answered(batch, r, sample.captions[is_first ? 1 : 4], sample.captions[is_first ? 2 : 5]);
          ++num_answered;
        } else {  // no question, or none that is answered
          const std::span<const int32_t> targets = batch.row<int32_t>("targets", r);
          EXPECT_TRUE(std::ranges::all_of(targets, [](int32_t t) { return t == -1; }));
          const auto count = static_cast<std::size_t>(batch.row<int32_t>("lengths", r)[0]);
          EXPECT_EQ(batch.row<int32_t>("tokens", r)[count - 1], kOwnEndId);
          EXPECT_EQ(count > 2, i % 4 == 2);
          ++num_alone;
        }
      }
    }
    EXPECT_GT(num_answered, 30);
    EXPECT_GT(num_alone, 30);
  }
}

// The prompt is what comes before the answer in training, token for token.
TEST(TextRole, EvaluationRowsArePrompts) {
  const TextOptions with_answer{.targets = true, .with_answer = true};
  LoaderOptions options = options_of(TextRole::kQuestion, {text_fields(folders().tokenizer, 24, 100, with_answer)});
  options.training = false;
  for (const Batch& batch : take(asked_set(), options, 3)) {
    for (int64_t r = 0; r < batch.num_rows(); ++r) {
      const SmallSample sample = asked_sample(batch.sample_ids[static_cast<std::size_t>(r)]);
      const auto question = std::ranges::find(sample.roles, TextRole::kQuestion);
      std::array<int32_t, 24> ids{};
      const int32_t count = question == sample.roles.end()
                                ? folders().tokenizer->encode("", ids)
                                : folders().tokenizer->encode(
                                      sample.captions[static_cast<std::size_t>(question - sample.roles.begin())], ids);
      ids[static_cast<std::size_t>(count - 1)] = kOwnPadId;
      EXPECT_EQ(batch.row<int32_t>("lengths", r)[0], count - 1);
      EXPECT_TRUE(std::ranges::equal(batch.row<int32_t>("tokens", r), ids));
      EXPECT_TRUE(std::ranges::all_of(batch.row<int32_t>("targets", r), [](int32_t t) { return t == -1; }));
    }
  }
}

TEST(TextRole, SyntheticAnswersEndTheirRows) {
  const FieldSource text = text_fields(nullptr, 12, 50, {.targets = true, .with_answer = true});
  const std::vector<FieldSource> sources{text, presence_fields()};
  const Batch batch = synthetic_batch(sources, 4, 0, 300);
  std::set<int32_t> firsts;
  for (int64_t r = 0; r < 300; ++r) {
    const std::span<const int32_t> tokens = batch.row<int32_t>("tokens", r), targets = batch.row<int32_t>("targets", r);
    const int32_t length = batch.row<int32_t>("lengths", r)[0];
    const auto first =
        static_cast<int32_t>(std::ranges::find_if(targets, [](int32_t t) { return t >= 0; }) - targets.begin());
    if (batch.row<uint8_t>("text_present", r)[0] == 0) {
      EXPECT_EQ(first, 12);
      continue;
    }
    ASSERT_LT(first, length - 1);
    firsts.insert(first);
    for (int32_t t = 0; t < 12; ++t) {
      const auto at = static_cast<std::size_t>(t);
      EXPECT_EQ(targets[at], t >= first && t + 1 < length ? tokens[at + 1] : -1);
    }
  }
  EXPECT_GT(firsts.size(), 8u);
}

TEST(TextRole, PartsAreCountedByRole) {
  const PartCounts counts = count_parts(*asked_set());
  EXPECT_EQ(counts.samples, 24u);
  EXPECT_EQ(counts.images, 18u);
  EXPECT_EQ(counts.captions, 12u);
  EXPECT_EQ(counts.pairs, 12u);
  EXPECT_EQ(counts.questions, 18u);
  EXPECT_EQ(counts.answers, 12u);
  EXPECT_EQ(counts.phrases, 6u);
  EXPECT_EQ(counts.boxes, 0u);
  EXPECT_FALSE(counts.some().boxes);
  EXPECT_EQ(counts.lacking({.images = true, .questions = true, .answers = true}),
            "6 have no image, 6 no question, 12 no answer");
  EXPECT_EQ(count_samples_with(*asked_set(), {.images = true, .questions = true, .answers = true}), 6u);
  EXPECT_EQ(asked_set()->num_texts(TextRole::kQuestion), 24u);
  EXPECT_EQ(asked_set()->num_texts(TextRole::kAnswer), 24u);
  EXPECT_EQ(asked_set()->num_texts(TextRole::kCaption), 12u);
  EXPECT_EQ(asked_set()->num_captions(), 66u);
  EXPECT_EQ(folders().sound->num_texts(TextRole::kCaption), folders().sound->num_captions());
  EXPECT_EQ(folders().sound->num_texts(TextRole::kQuestion), 0u);
}

}  // namespace
}  // namespace triptych::test
