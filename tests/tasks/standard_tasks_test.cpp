#include "tasks/standard_tasks.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "small_tasks.h"
#include "support/user_error.h"
#include "tasks/search.h"

namespace triptych::test {
namespace {

bool learns_from_texts(std::string_view task) {
  return task != "classify" && task != "masked_image" && task != "detect";
}
// Those are tested on data sets that have boxes: boxes_test.cpp.
bool learns_from_boxes(std::string_view task) {
  return task == "detect" || task == "ground";
}

// Questions have a test of their own, answer_test.cpp.
std::vector<TaskKind> tasks_of_captions() {
  std::vector<TaskKind> kinds(standard_tasks().begin(), standard_tasks().end());
  std::erase_if(kinds, [](const TaskKind& kind) { return kind.name == "answer"; });
  return kinds;
}

TEST(StandardTasks, ADataSetWithoutWhatTheTaskLearnsFromIsRefused) {
  for (const TaskKind& kind : tasks_of_captions()) {
    const RunConfig config = parse_run_config(config_of(std::string(kind.name)), "run.toml", standard_tasks());
    const auto refusal = [&](const std::shared_ptr<const Dataset>& data) {
      return user_error_of([&] { config.task->check_data(*data); });
    };
    if (learns_from_boxes(kind.name)) {
      EXPECT_NE(refusal(small_sets().whole), "no error") << kind.name << ": nobody drew boxes";
      continue;
    }
    EXPECT_EQ(refusal(small_sets().whole), "no error");
    EXPECT_EQ(refusal(small_sets().blind).find("image") != std::string::npos, learns_from_images(kind.name))
        << kind.name;
    EXPECT_EQ(refusal(small_sets().unlabelled) == "no error", kind.name != "classify") << kind.name;
    EXPECT_EQ(refusal(small_sets().wordless) == "no error", !learns_from_texts(kind.name)) << kind.name;
    // Samples that lack a part are masked, but some must have what is learned from.
    EXPECT_EQ(refusal(small_sets().partly), "no error") << kind.name;
    const bool learns_alone = kind.name == "masked_image" || kind.name == "masked_text";  // from one part
    EXPECT_EQ(refusal(small_sets().apart).find("that belong together: 0 of 6 samples have both") != std::string::npos,
              !learns_alone)
        << kind.name;
    const bool contrasts = kind.name == "contrastive" || kind.name == "coca" || kind.name == "align";
    EXPECT_EQ(refusal(small_sets().one_pair) == "no error", !contrasts) << kind.name << ": one pair is not contrasted";
  }
}

const Names kRetrievalMetrics{"all of it: image to text recall@1",  "all of it: image to text recall@5",
                              "all of it: image to text recall@10", "all of it: text to image recall@1",
                              "all of it: text to image recall@5",  "all of it: text to image recall@10"};

TEST(StandardTasks, AnEvaluationGivesItsNumbersAndPanels) {
  const std::string path = small_sets().whole->path().string();
  const Found contrastive = evaluate(config_of("contrastive"), 1, {path});
  EXPECT_EQ(contrastive.names(), kRetrievalMetrics);
  EXPECT_EQ(contrastive.titles(), (Names{"Retrieval", "Examples"}));
  EXPECT_EQ(std::get<GalleryPanel>(contrastive.panels[1]).queries.size(), 12u);

  const Found classify = evaluate(config_of("classify"), 1, {path});
  EXPECT_EQ(classify.names(), (Names{"all of it: top-1 accuracy", "all of it: top-5 accuracy"}));
  EXPECT_EQ(classify.titles(), (Names{"Classification", "Confusion on all of it", "Examples", "Where it looks"}));
  // One of those whose label is the first class, which of equal scores is the best, and one of the others.
  const auto& looks = std::get<ExamplesPanel>(classify.panels[3]).examples;
  ASSERT_EQ(looks.size(), 2u);
  EXPECT_EQ(looks[0].group, "all of it, right");
  EXPECT_EQ(looks[1].group, "all of it, wrong");
  EXPECT_TRUE(looks[0].correct && !looks[1].correct);
  for (const ExamplesPanel::Example& look : looks) {
    EXPECT_NEAR(look.score, 1.0 / 7, 1e-6) << "the probability of one of seven classes alike";
    ASSERT_EQ(look.maps.size(), 1u);
    EXPECT_EQ(look.maps[0].description, look.produced);
  }
  EXPECT_EQ(classify.metrics[1].second, 0) << "equal scores for all classes are never right";
  const auto& table = std::get<TablePanel>(classify.panels[0]);
  EXPECT_EQ(table.subjects[0].notes, Names{"11 pictures"});
  EXPECT_EQ(table.subjects[0].rows.back().values[0].number, 1.0 / 7);

  const Found caption = evaluate(config_of("caption") + "decoding.prompts = [\"\", \"a\"]\n", 1, {path});
  Names of_prompts = caption_metrics("all of it");
  append(of_prompts, caption_metrics("all of it, a"));
  EXPECT_EQ(caption.names(), of_prompts);
  EXPECT_EQ(caption.titles(), (Names{"Captions", "Captions written"}));

  const Found masked_image = evaluate(config_of("masked_image"), 1, {path});
  EXPECT_EQ(masked_image.names(), Names{"all of it: reconstruction error"});
  EXPECT_EQ(masked_image.titles(), (Names{"Reconstruction", "Reconstructions"}));
  const auto& reconstruction = std::get<TablePanel>(masked_image.panels[0]).subjects[0];
  EXPECT_EQ(reconstruction.notes, Names{"77 masked patches"}) << "of 11 pictures, 2 of 9 patches seen";
  EXPECT_NEAR(reconstruction.rows[1].values[0].number, 1 - 1.0 / 48, 1e-3) << "noise has no flat patch";
  const auto& pictures = std::get<GalleryPanel>(masked_image.panels[1]).queries;
  ASSERT_EQ(pictures.size(), 6u);
  EXPECT_TRUE(pictures[0].picture && pictures[0].hits.size() == 2 && pictures[0].hits[1].picture);

  const Found masked_text = evaluate(config_of("masked_text"), 1, {path});
  EXPECT_EQ(masked_text.names(), (Names{"all of it: masked-token accuracy", "all of it: masked-token top-5 accuracy",
                                        "all of it: most frequent token"}));
  EXPECT_EQ(masked_text.titles(), (Names{"Masked tokens", "Guesses"}));
  EXPECT_EQ(std::get<TablePanel>(masked_text.panels[0]).subjects[0].notes, Names{"22 tokens"}) << "one a caption";
  EXPECT_EQ(std::get<ExamplesPanel>(masked_text.panels[1]).examples.size(), 6u);

  const Found coca = evaluate(config_of("coca"), 1, {path});
  Names both = kRetrievalMetrics;
  append(both, caption_metrics("all of it"));
  EXPECT_EQ(coca.names(), both);
  EXPECT_EQ(coca.titles(), (Names{"Retrieval", "Examples", "Captions", "Captions written"}));

  const Found align = evaluate(config_of("align"), 1, {path});
  Names matching = kRetrievalMetrics;
  matching.emplace_back("all of it: matching accuracy");
  append(matching, {"all of it: masked-token accuracy", "all of it: masked-token top-5 accuracy",
                    "all of it: masked-token accuracy, text only", "all of it: masked-token top-5 accuracy, text only",
                    "all of it: most frequent token"});
  EXPECT_EQ(align.names(), matching);
  EXPECT_EQ(align.titles(), (Names{"Retrieval", "Matching", "Examples", "Masked tokens", "Guesses"}));
  const auto& guessed = std::get<TablePanel>(align.panels[3]).subjects[0];
  EXPECT_EQ(guessed.notes, Names{"22 tokens"}) << "one a caption";
  EXPECT_EQ(guessed.rows[1].source, "model, text only");
  const auto& of_pairs = std::get<TablePanel>(align.panels[1]).subjects[0];
  EXPECT_EQ(of_pairs.notes, Names{"11 pairs, 11 mismatched"});
}

// Each measure is of the samples that have what it needs, and says how many lack it.
TEST(StandardTasks, AnEvaluationIsOfWhatIsThere) {
  const std::string path = small_sets().partly->path().string();
  const auto notes_of = [&](const std::string& task) {
    const Found found = evaluate(config_of(task), 2, {path});
    std::vector<Names> notes;
    for (const Panel& panel : found.panels) {
      if (const auto* table = std::get_if<TablePanel>(&panel)) {
        for (const TablePanel::Subject& subject : table->subjects) notes.push_back(subject.notes);
      }
    }
    return notes;
  };
  const std::string lacking = "of 11 samples 2 have no image, 1 no caption";
  // 8 pictures have captions; 16 captions have a picture.
  const std::vector<Names> retrieval{{"image to text", "8 queries", lacking}, {"text to image", "16 queries", lacking}};
  EXPECT_EQ(notes_of("contrastive"), retrieval);
  EXPECT_EQ(notes_of("caption"), (std::vector<Names>{{"8 pictures", lacking}}));
  std::vector<Names> both = retrieval;
  both.push_back({"8 pictures", lacking});
  EXPECT_EQ(notes_of("coca"), both);
  // Labels have the even samples, of which number 2 has no picture.
  EXPECT_EQ(notes_of("classify"), (std::vector<Names>{{"5 pictures", "of 11 samples 2 have no image, 5 no label"}}));
}

// 11 samples in batches of 4, or of 6: the last one is padded, on 3 ranks more than once.
TEST(StandardTasks, AnyNumberOfRanksFindsTheSame) {
  const Names paths{small_sets().whole->path().string(), small_sets().partly->path().string()};
  for (const TaskKind& kind : tasks_of_captions()) {
    if (learns_from_boxes(kind.name)) continue;
    const Found one = evaluate(config_of(std::string(kind.name)), 1, paths);
    for (const int ranks : {2, 3}) {
      const Found many = evaluate(config_of(std::string(kind.name)), ranks, paths);
      EXPECT_EQ(many.metrics, one.metrics) << kind.name << " on " << ranks;
      EXPECT_EQ(many.titles(), one.titles());
    }
  }
}

TEST(StandardTasks, ASetThatCannotBeMeasuredIsRefused) {
  const auto refusal = [](const std::string& task, const std::shared_ptr<const Dataset>& data) {
    const RunConfig config = parse_run_config(config_of(task), "run.toml", standard_tasks());
    config.task->check_evaluation_set(*small_sets().whole);
    return user_error_of([&] { config.task->check_evaluation_set(*data); });
  };
  EXPECT_NE(refusal("contrastive", small_sets().wordless).find("retrieval needs captions"), std::string::npos);
  EXPECT_NE(refusal("classify", small_sets().unlabelled).find("classification needs labels"), std::string::npos);
  EXPECT_NE(refusal("caption", small_sets().blind).find("captioning needs images"), std::string::npos);
  for (const char* task : {"contrastive", "caption", "coca", "classify"}) {
    EXPECT_NE(refusal(task, small_sets().apart).find("0 of 6 samples have both"), std::string::npos) << task;
  }
  EXPECT_NE(refusal("masked_image", small_sets().blind).find("needs images"), std::string::npos);
  EXPECT_NE(refusal("masked_text", small_sets().wordless).find("needs captions"), std::string::npos);
}

TEST(StandardTasks, OnlyTasksThatCompareTextsWithPicturesSearch) {
  for (const TaskKind& kind : standard_tasks()) {
    RunConfig config = parse_run_config(config_of(std::string(kind.name)), "run.toml", standard_tasks());
    const std::unique_ptr<Group> self = make_self_group("test");
    Session session(config, *self, RankPlace{});
    Inference inference(session.device(), session.mesh(), session.executor(), {.batch = 4});
    const std::optional<SharedSpace> space = config.task->shared_space();
    EXPECT_EQ(space.has_value(), kind.name == "contrastive" || kind.name == "coca" || kind.name == "align");
    if (!space) continue;
    const std::string text = "text_embedding";
    EXPECT_EQ(session.executor().fields(std::span(&text, 1)), (Names{"lengths", "tokens"}))
        << "a text needs no picture";
    NearestHits nearest(embed_text(inference, *space, *small_sets().tokenizer, "picture 3"), 4);
    embed_set(inference, *config.task, small_sets().tokenizer, small_sets().whole, EvaluationItems::kSamples,
              [&](std::span<const EmbeddedItem>, std::span<const float> rows) { nearest.add(rows); });
    EXPECT_EQ(nearest.num_candidates(), static_cast<int64_t>(small_sets().whole->size()));
    const std::vector<SearchHit> hits = nearest.take();
    ASSERT_EQ(hits.size(), 4u) << kind.name;
    EXPECT_TRUE(std::is_sorted(hits.begin(), hits.end(),
                               [](const SearchHit& a, const SearchHit& b) { return a.score > b.score; }));
  }
}

}  // namespace
}  // namespace triptych::test
