#include "tasks/standard_tasks.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/captions.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "evaluation/inference.h"
#include "parallel/in_process_group.h"
#include "training/session.h"

namespace triptych::test {
namespace {

using Names = std::vector<std::string>;

constexpr const char* kImage =
    "model.image = {size = 12, patch = 4, width = 16, layers = 1, heads = 2, feed_forward = 20}\n";
constexpr const char* kText =
    "model.text = {length = 7, vocabulary = 41, width = 12, layers = 1, heads = 2, feed_forward = 18}\n";

bool learns_from_images(std::string_view task) {
  return task != "masked_text";
}
bool learns_from_texts(std::string_view task) {
  return task != "classify" && task != "masked_image" && task != "detect";
}
// Those are tested on data sets that have boxes: boxes_test.cpp.
bool learns_from_boxes(std::string_view task) {
  return task == "detect" || task == "ground";
}

std::string config_of(const std::string& task) {
  const std::string first = fmt::format("task = \"{}\"\n", task);
  if (task == "classify") return first + "model.classes = 7\n" + kImage;
  if (task == "masked_image") {
    return first + kImage + "model.decoder = {width = 8, layers = 1, heads = 2, feed_forward = 12}\n";
  }
  if (task == "masked_text") return first + kText;
  const std::string fusion = "model.fusion = {width = 12, layers = 1, heads = 2, feed_forward = 18}\n";
  if (task == "answer") return first + "model.answers = 7\n" + kImage + kText + fusion;
  if (task == "align") return first + kImage + kText + fusion;
  if (task == "language") return first + "model.connector = {kind = \"mlp\"}\n" + kImage + kText;
  if (task == "detect") {
    return first + "model.classes = 4\nmodel.queries = 5\n" + kImage +
           "model.decoder = {width = 8, layers = 1, heads = 2, feed_forward = 12}\n";
  }
  return first + kImage + kText;
}

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

// ---- Configs

struct WrongConfig {
  std::string task, text;
  std::vector<std::string> says;  // all of them, at once
};

TEST(StandardTasks, AWrongValueIsToldWithItsKey) {
  const std::string head = "model.image.width = 600\nmodel.image.heads = 1";
  const std::vector<WrongConfig> cases{
      {"contrastive",
       "model.embedding = 0\nmodel.image.pooling = \"last\"\nmodel.text.attention = \"none\"\nobjective.kind = \"l2\"",
       {"model.embedding", "at least 2", "model.image.pooling", "class, mean", "model.text.attention",
        "causal, bidirectional", "objective.kind", "infonce, sigmoid"}},
      {"contrastive",
       "objective.temperature = 0.01\nobjective.minimum_temperature = 0.02",
       {"objective.temperature", "0.02"}},
      {"contrastive",
       "model.dropout = 1.0\nmodel.image.size = 20\nmodel.image.patch = 3\nmodel.text.width = 30\nmodel.text.heads = 4",
       {"model.dropout", "model.image.patch", "patch 3, size 20", "model.text.heads", "4 heads, width 30"}},
      {"classify",
       "model.classes = 1\nobjective.label_smoothing = 1.0",
       {"model.classes", "at least 2", "objective.label_smoothing", "below 1"}},
      {"classify", head, {"model.image.heads", "600 / 1 = 600"}},
      {"classify",
       "model.image.activation = \"relu\"\nmodel.image.norm = \"batch\"\nmodel.image.norm_position = \"middle\"\n"
       "model.image.positions = \"relative\"\nmodel.image.norm_epsilon = 0.0\nmodel.image.drop_path = 1.0",
       {"model.image.activation", "gelu, gelu_tanh, gelu_quick, swiglu", "model.image.norm`", "layer, rms",
        "model.image.norm_position", "pre, post", "model.image.positions", "learned, sinusoidal, rotary, none",
        "model.image.norm_epsilon", "model.image.drop_path"}},
      {"classify", "model.image.heads = 6\nmodel.image.width = 60\nmodel.image.kv_heads = 4", {"4 of 6 heads"}},
      {"caption",
       "parallel.tp = 2\nmodel.text.heads = 4\nmodel.text.kv_heads = 1",
       {"model.text.kv_heads", "multiple of parallel.tp: 1 heads, tp = 2"}},
      {"contrastive",
       "model.image.width = 36\nmodel.image.heads = 6\nmodel.image.positions = \"rotary\"\n"
       "model.text.width = 35\nmodel.text.heads = 5\nmodel.text.positions = \"rotary\"",
       {"rotary needs heads of a multiple of 4 columns, found 36 / 6 = 6",
        "rotary needs heads of a multiple of 2 columns, found 35 / 5 = 7"}},
      {"contrastive",
       "model.image.width = 30\nmodel.image.heads = 3\nmodel.image.positions = \"sinusoidal\"",
       {"sinusoidal needs a width that is a multiple of 4, found 30"}},
      {"classify",
       "data.augment.min_scale = 0.0\ndata.augment.flip_probability = 2.0",
       {"data.augment.min_scale", "data.augment.flip_probability"}},
      {"caption",
       "decoding.beams = 0\ndecoding.alpha = -1.0\ndecoding.prompts = []\nmodel.text.length = 1",
       {"decoding.beams", "decoding.alpha", "decoding.prompts", "model.text.length"}},
      {"caption",
       "parallel.tp = 3\nmodel.text.heads = 3\nmodel.text.width = 30\nmodel.image.heads = 3\n"
       "model.image.width = 30\nmodel.image.feed_forward = 31\nmodel.text.feed_forward = 33\n"
       "model.text.vocabulary = 40",
       {"model.image.feed_forward", "31, tp = 3", "model.text.vocabulary", "40 tokens, tp = 3"}},
      {"masked_image",
       "objective.visible_share = 1.0\nmodel.decoder.heads = 3\nmodel.decoder.width = 32",
       {"objective.visible_share", "below 1", "model.decoder.heads", "3 heads, width 32"}},
      {"masked_image",
       "model.image.size = 12\nmodel.image.patch = 6\nobjective.visible_share = 0.2",
       {"objective.visible_share", "0 of 4 patches"}},
      {"masked_image", "model.image.positions = \"rotary\"", {"model.image.positions", "must not be rotary"}},
      {"masked_text",
       "model.text.length = 2\nmodel.text.vocabulary = 5\nobjective.share = 0.0\nobjective.mask_share = 0.9\n"
       "objective.random_share = 0.2",
       {"model.text.length", "at least 3", "model.text.vocabulary", "at least 6", "objective.share",
        "objective.random_share", "0.2 > 1 - 0.9"}},
      {"answer",
       "model.answers = 1\nmodel.connector.kind = \"bridge\"\nmodel.connector.queries = 0\n"
       "model.fusion.kind = \"sum\"\nmodel.fusion.attention = \"none\"\nmodel.fusion.positions = \"learned\"",
       {"model.answers", "at least 2", "model.connector.kind", "none, linear, mlp, resampler",
        "model.connector.queries", "model.fusion.kind", "concatenation, gated, cross_attention",
        "model.fusion.attention", "both_ways, text_to_image", "model.fusion.positions", "must be none or rotary"}},
      {"align",
       "model.fusion.kind = \"gated\"\nobjective.matching_group = 1\nobjective.matching_weight = 0.0\n"
       "objective.masked_share = 0.0\nmodel.text.vocabulary = 5",
       {"objective.masked_weight", "fusion gated", "objective.matching_group", "at least 2",
        "objective.matching_weight", "objective.masked_share", "model.text.vocabulary", "at least 6"}},
      {"align", "model.fusion.width = 128", {"objective.masked_weight", "width 128 of 256"}},
      {"language",
       "model.connector.kind = \"bridge\"\nmodel.connector.queries = 0\nmodel.connector.every = 0\n"
       "objective.target = \"question\"\ndecoding.methods = [\"sample\"]\ndecoding.top_p = 0.0\n"
       "decoding.temperature = 0.0",
       {"model.connector.kind", "none, linear, mlp, resampler, gated_cross_attention", "model.connector.queries",
        "model.connector.every", "objective.target", "caption, answer", "decoding.methods", "greedy, beam, nucleus",
        "decoding.top_p", "decoding.temperature"}},
      {"detect",
       "model.classes = 0\nmodel.queries = 0\nmodel.decoder.positions = \"rotary\"\nobjective.class_weight = -1\n"
       "objective.nothing_weight = -1\nobjective.l1_weight = -1\nobjective.giou_weight = 1e9",
       {"model.classes", "model.queries", "model.decoder.positions", "must be none", "objective.class_weight",
        "objective.nothing_weight", "objective.l1_weight", "objective.giou_weight"}},
      {"ground", "model.text.length = 1\nobjective.l1_weight = -1", {"model.text.length", "objective.l1_weight"}},
      {"coca",
       "model.pool_queries = 0\nmodel.multimodal_layers = 0\nobjective.caption_weight = 0.0\n"
       "objective.contrastive_weight = -1.0",
       {"model.pool_queries", "model.multimodal_layers", "objective.caption_weight", "objective.contrastive_weight"}},
  };
  for (const WrongConfig& wrong : cases) {
    const std::string text = fmt::format("task = \"{}\"\n{}", wrong.task, wrong.text);
    const std::string error = error_of([&] { parse_run_config(text, "run.toml", standard_tasks()); });
    for (const std::string& part : wrong.says) {
      EXPECT_NE(error.find(part), std::string::npos) << part << " is not in\n" << error;
    }
  }
}

// Crops that cannot be drawn: each number is in its range, together they are not.
TEST(StandardTasks, AugmentationsThatExcludeEachOtherAreRefused) {
  for (const TaskKind& kind : standard_tasks()) {
    if (!learns_from_images(kind.name)) continue;
    const std::string text = config_of(std::string(kind.name)) +
                             "data.augment = {min_scale = 0.9, max_scale = 0.5, min_ratio = 2, max_ratio = 1.5}\n";
    const std::string error = error_of([&] { parse_run_config(text, "run.toml", standard_tasks()); });
    EXPECT_NE(error.find("data.augment.max_scale: 0.9 > 0.5"), std::string::npos) << kind.name << ": " << error;
    EXPECT_NE(error.find("data.augment.max_ratio: 2 > 1.5"), std::string::npos) << kind.name << ": " << error;
  }
}

// ---- Data

std::vector<std::byte> noise(uint64_t i) {
  std::vector<uint8_t> pixels;
  for (uint64_t k = 0; k < 14 * 13 * 3; ++k) pixels.push_back(static_cast<uint8_t>((i + 1) * 37 * (k + 3) % 251));
  return encode_png(14, 13, pixels);
}

// Pictures with captions and labels, all or in part; made once.
struct Sets {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> whole = make_data_set(folder / "all_of_it", 11, [](uint64_t i) {
    return SmallSample{noise(i), {fmt::format("picture {}", i), "a picture"}, static_cast<int64_t>(i % 5)};
  });
  std::shared_ptr<const Dataset> unlabelled = make_data_set(folder / "unlabelled", 3, [](uint64_t i) {
    return SmallSample{noise(i), {"a picture"}};
  });
  std::shared_ptr<const Dataset> wordless = make_data_set(folder / "wordless", 3, [](uint64_t i) {
    return SmallSample{noise(i), {}, 1};
  });
  // Of 11: two without a picture, one without captions, and labels alone where there is no picture.
  std::shared_ptr<const Dataset> partly = make_data_set(folder / "in_part", 11, [](uint64_t i) {
    const bool has_image = i != 2 && i != 9;
    const auto label = i % 2 == 0 ? std::optional<int64_t>(3) : std::nullopt;
    return SmallSample{has_image ? noise(i) : std::vector<std::byte>(),
                       i == 4 ? Names{} : Names{fmt::format("picture {}", i), "a picture"}, label};
  });
  // Each has a picture or a text, with a label where it has the text.
  std::shared_ptr<const Dataset> apart = make_data_set(folder / "apart", 6, [](uint64_t i) {
    if (i % 2 == 0) return SmallSample{noise(i), {}};
    return SmallSample{{}, {"a picture"}, 1};
  });
  std::shared_ptr<const Dataset> one_pair = make_data_set(folder / "one_pair", 3, [](uint64_t i) {
    return SmallSample{noise(i), i == 1 ? Names{"a picture"} : Names{}, 1};
  });
  std::shared_ptr<const Dataset> blind = make_data_set(folder / "blind", 3, [](uint64_t) {
    return SmallSample{{}, {"a picture"}, 1};
  });
  std::shared_ptr<const Tokenizer> tokenizer =
      Tokenizer::from_bytes(train_tokenizer(dataset_captions(whole), static_cast<int64_t>(whole->num_captions()),
                                            {.vocabulary = 40, .character_coverage = 1}),
                            "test");
};

const Sets& sets() {
  static const Sets all;
  return all;
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
      return error_of([&] { config.task->check_data(*data); });
    };
    if (learns_from_boxes(kind.name)) {
      EXPECT_NE(refusal(sets().whole), "no error") << kind.name << ": nobody drew boxes";
      continue;
    }
    EXPECT_EQ(refusal(sets().whole), "no error");
    EXPECT_EQ(refusal(sets().blind).find("image") != std::string::npos, learns_from_images(kind.name)) << kind.name;
    EXPECT_EQ(refusal(sets().unlabelled) == "no error", kind.name != "classify") << kind.name;
    EXPECT_EQ(refusal(sets().wordless) == "no error", !learns_from_texts(kind.name)) << kind.name;
    // Samples that lack a part are masked, but some must have what is learned from.
    EXPECT_EQ(refusal(sets().partly), "no error") << kind.name;
    const bool learns_alone = kind.name == "masked_image" || kind.name == "masked_text";  // from one part
    EXPECT_EQ(refusal(sets().apart).find("that belong together: 0 of 6 samples have both") != std::string::npos,
              !learns_alone)
        << kind.name;
    const bool contrasts = kind.name == "contrastive" || kind.name == "coca" || kind.name == "align";
    EXPECT_EQ(refusal(sets().one_pair) == "no error", !contrasts) << kind.name << ": one pair is not contrasted";
  }
}

// ---- Results

struct Found {
  std::vector<std::pair<std::string, double>> metrics;
  Names titles;
  std::vector<Panel> panels;
};

// What rank 0 finds with a model that was not trained.
Found evaluate(const std::string& text, int num_ranks, const Names& paths) {
  Found found;
  run_ranks(num_ranks, [&](Group& world) {
    RunConfig config = parse_run_config(text, "run.toml", standard_tasks());
    config.parallel.mesh.dp = num_ranks;
    Session session(config, world, RankPlace{});
    Inference inference(session.device(), session.mesh(), session.executor(),
                        {.batch = 4, .text_role = config.task->text_role()});
    EvaluationResults results =
        config.task->evaluate(inference, {.sets = paths, .tokenizer = sets().tokenizer, .baselines = {}});
    if (!inference.is_first()) return;
    found.metrics = std::move(results.metrics);
    found.panels = std::move(results.panels);
    for (const Panel& panel : found.panels) std::visit([&](const auto& p) { found.titles.push_back(p.title); }, panel);
  });
  return found;
}

Names names_of(const Found& found) {
  Names names;
  for (const auto& metric : found.metrics) names.push_back(metric.first);
  return names;
}

const Names kRetrievalMetrics{"all of it: image to text recall@1",  "all of it: image to text recall@5",
                              "all of it: image to text recall@10", "all of it: text to image recall@1",
                              "all of it: text to image recall@5",  "all of it: text to image recall@10"};

const Names kCaptionMetrics{"all of it chrF", "all of it BLEU", "all of it CIDEr-D", "all of it exact"};

TEST(StandardTasks, AnEvaluationGivesItsNumbersAndPanels) {
  const std::string path = sets().whole->path().string();
  const Found contrastive = evaluate(config_of("contrastive"), 1, {path});
  EXPECT_EQ(names_of(contrastive), kRetrievalMetrics);
  EXPECT_EQ(contrastive.titles, (Names{"Retrieval", "Examples"}));
  EXPECT_EQ(std::get<GalleryPanel>(contrastive.panels[1]).queries.size(), 12u);

  const Found classify = evaluate(config_of("classify"), 1, {path});
  EXPECT_EQ(names_of(classify), (Names{"all of it: top-1 accuracy", "all of it: top-5 accuracy"}));
  EXPECT_EQ(classify.titles, (Names{"Classification", "Confusion on all of it", "Examples"}));
  EXPECT_EQ(classify.metrics[1].second, 0) << "equal scores for all classes are never right";
  const auto& table = std::get<TablePanel>(classify.panels[0]);
  EXPECT_EQ(table.subjects[0].notes, Names{"11 pictures"});
  EXPECT_EQ(table.subjects[0].rows.back().values[0].number, 1.0 / 7);

  const Found caption = evaluate(config_of("caption") + "decoding.prompts = [\"\", \"a\"]\n", 1, {path});
  EXPECT_EQ(names_of(caption),
            (Names{"all of it chrF", "all of it BLEU", "all of it CIDEr-D", "all of it exact", "all of it, a chrF",
                   "all of it, a BLEU", "all of it, a CIDEr-D", "all of it, a exact"}));
  EXPECT_EQ(caption.titles, (Names{"Captions", "Captions written"}));

  const Found masked_image = evaluate(config_of("masked_image"), 1, {path});
  EXPECT_EQ(names_of(masked_image), Names{"all of it: reconstruction error"});
  EXPECT_EQ(masked_image.titles, (Names{"Reconstruction", "Reconstructions"}));
  const auto& reconstruction = std::get<TablePanel>(masked_image.panels[0]).subjects[0];
  EXPECT_EQ(reconstruction.notes, Names{"77 masked patches"}) << "of 11 pictures, 2 of 9 patches seen";
  EXPECT_NEAR(reconstruction.rows[1].values[0].number, 1 - 1.0 / 48, 1e-3) << "noise has no flat patch";
  const auto& pictures = std::get<GalleryPanel>(masked_image.panels[1]).queries;
  ASSERT_EQ(pictures.size(), 6u);
  EXPECT_TRUE(pictures[0].picture && pictures[0].hits.size() == 2 && pictures[0].hits[1].picture);

  const Found masked_text = evaluate(config_of("masked_text"), 1, {path});
  EXPECT_EQ(names_of(masked_text), (Names{"all of it: masked-token accuracy", "all of it: masked-token top-5 accuracy",
                                          "all of it: most frequent token"}));
  EXPECT_EQ(masked_text.titles, (Names{"Masked tokens", "Guesses"}));
  EXPECT_EQ(std::get<TablePanel>(masked_text.panels[0]).subjects[0].notes, Names{"22 tokens"}) << "one a caption";
  EXPECT_EQ(std::get<ExamplesPanel>(masked_text.panels[1]).examples.size(), 6u);

  const Found coca = evaluate(config_of("coca"), 1, {path});
  Names both = kRetrievalMetrics;
  both.insert(both.end(), kCaptionMetrics.begin(), kCaptionMetrics.end());
  EXPECT_EQ(names_of(coca), both);
  EXPECT_EQ(coca.titles, (Names{"Retrieval", "Examples", "Captions", "Captions written"}));

  const Found align = evaluate(config_of("align"), 1, {path});
  Names matching = kRetrievalMetrics;
  matching.emplace_back("all of it: matching accuracy");
  EXPECT_EQ(names_of(align), matching);
  EXPECT_EQ(align.titles, (Names{"Retrieval", "Matching", "Examples"}));
  const auto& of_pairs = std::get<TablePanel>(align.panels[1]).subjects[0];
  EXPECT_EQ(of_pairs.notes, Names{"11 pairs, 11 mismatched"});
}

// 11 pictures with two captions each, of a model that has learned nothing.
TEST(StandardTasks, ALanguageModelIsMeasuredByPerplexityAndByWhatItWrites) {
  const std::string path = sets().whole->path().string();
  const double pieces = static_cast<double>(sets().tokenizer->size());
  const Names perplexities{"all of it: perplexity", "all of it: perplexity of token frequencies"};
  for (const std::string kind : {"none", "linear", "resampler", "gated_cross_attention"}) {
    const Found found = evaluate(
        "task = \"language\"\ndecoding.methods = [\"greedy\", \"nucleus\"]\n" +
            fmt::format("model.connector = {{kind = \"{}\", queries = 3, layers = 1}}\n", kind) + kImage + kText,
        1, {path});
    const bool has_pictures = kind != "none";
    Names names = perplexities;
    for (const char* method : {"greedy", "nucleus"}) {
      for (const char* metric : {"chrF", "BLEU", "CIDEr-D", "exact"}) {
        if (has_pictures) names.push_back(fmt::format("all of it, {} {}", method, metric));
      }
    }
    EXPECT_EQ(names_of(found), names) << kind;
    EXPECT_EQ(found.titles, has_pictures ? (Names{"Perplexity", "Captions", "Captions written"})
                                         : (Names{"Perplexity", "Texts written"}));
    // The tokenizer leaves one row of the vocabulary free, of which the model knows nothing.
    EXPECT_NEAR(found.metrics[0].second, 41, 0.1 * 41) << "scores of all tokens are almost alike at first";
    const auto& table = std::get<TablePanel>(found.panels[0]).subjects[0];
    // Computed once more: the frequencies of all captions' tokens and ends.
    std::map<int32_t, double> counts;
    double total = 0;
    for (uint64_t i = 0; i < 11; ++i) {
      for (const std::string& text : {fmt::format("picture {}", i), std::string("a picture")}) {
        std::vector<int32_t> ids(7);
        const int32_t length = sets().tokenizer->encode(text, ids);
        for (int32_t t = 1; t < length; ++t) ++counts[ids[static_cast<std::size_t>(t)]];
        total += length - 1;
      }
    }
    double entropy = 0;
    for (const auto& [token, count] : counts) entropy -= count / total * std::log(count / total);
    EXPECT_NEAR(found.metrics[1].second, std::exp(entropy), 1e-9 * std::exp(entropy));
    EXPECT_EQ(table.notes, Names{fmt::format("{:.0f} tokens", total)});
    ASSERT_EQ(table.rows.size(), 3u);
    EXPECT_EQ(table.rows[2].values[0].number, pieces);
    const auto& examples = std::get<ExamplesPanel>(found.panels.back()).examples;
    EXPECT_EQ(examples.size(), has_pictures ? 12u : 4u) << "6 pictures by 2 methods; 1 text, and 3 that are drawn";
  }
}

// Answers are compared with all that are right; the loader's rows are the prompts.
TEST(StandardTasks, ALanguageModelAnswersQuestions) {
  ScratchFolder folder;
  const auto asked = make_data_set(folder / "asked", 7, [](uint64_t i) {
    SmallSample sample{noise(i), {"picture 1", i % 3 == 0 ? "a picture" : "picture 2", "picture 3"}};
    sample.roles = {TextRole::kQuestion, TextRole::kAnswer, TextRole::kAnswer};
    return sample;
  });
  const std::string path = asked->path().string();
  for (const std::string kind : {"none", "mlp", "gated_cross_attention"}) {
    const std::string text =
        fmt::format("task = \"language\"\nobjective.target = \"answer\"\nmodel.connector = {{kind = \"{}\"}}\n", kind) +
        kImage + kText;
    const RunConfig config = parse_run_config(text, "run.toml", standard_tasks());
    EXPECT_EQ(config.task->text_role(), TextRole::kQuestion);
    EXPECT_NO_THROW(config.task->check_data(*asked));
    EXPECT_NE(error_of([&] { config.task->check_data(*sets().whole); }).find("needs questions"), std::string::npos);
    const Found found = evaluate(text, 1, {path});
    EXPECT_EQ(names_of(found), (Names{"asked: answer accuracy", "asked: VQA score"}));
    const auto& table = std::get<TablePanel>(found.panels[0]).subjects[0];
    EXPECT_EQ(table.notes, Names{"7 questions"});
    ASSERT_EQ(table.rows.size(), 3u);
    // The first answer of 4 of the 7 is "picture 2".
    EXPECT_DOUBLE_EQ(table.rows[1].values[0].number, 4.0 / 7);
    EXPECT_DOUBLE_EQ(table.rows[2].values[0].number, 4.0 / 7);
    EXPECT_EQ(std::get<ExamplesPanel>(found.panels[1]).examples.size(), 6u);
    for (const int ranks : {2, 3}) EXPECT_EQ(evaluate(text, ranks, {path}).metrics, found.metrics);
  }
}

// Each measure is of the samples that have what it needs, and says how many lack it.
TEST(StandardTasks, AnEvaluationIsOfWhatIsThere) {
  const std::string path = sets().partly->path().string();
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
  const Names paths{sets().whole->path().string(), sets().partly->path().string()};
  for (const TaskKind& kind : tasks_of_captions()) {
    if (learns_from_boxes(kind.name)) continue;
    const Found one = evaluate(config_of(std::string(kind.name)), 1, paths);
    for (const int ranks : {2, 3}) {
      const Found many = evaluate(config_of(std::string(kind.name)), ranks, paths);
      EXPECT_EQ(many.metrics, one.metrics) << kind.name << " on " << ranks;
      EXPECT_EQ(many.titles, one.titles);
    }
  }
}

TEST(StandardTasks, ASetThatCannotBeMeasuredIsRefused) {
  const auto refusal = [](const std::string& task, const std::shared_ptr<const Dataset>& data) {
    const RunConfig config = parse_run_config(config_of(task), "run.toml", standard_tasks());
    config.task->check_evaluation_set(*sets().whole);
    return error_of([&] { config.task->check_evaluation_set(*data); });
  };
  EXPECT_NE(refusal("contrastive", sets().wordless).find("retrieval needs captions"), std::string::npos);
  EXPECT_NE(refusal("classify", sets().unlabelled).find("classification needs labels"), std::string::npos);
  EXPECT_NE(refusal("caption", sets().blind).find("captioning needs images"), std::string::npos);
  for (const char* task : {"contrastive", "caption", "coca", "classify"}) {
    EXPECT_NE(refusal(task, sets().apart).find("0 of 6 samples have both"), std::string::npos) << task;
  }
  EXPECT_NE(refusal("masked_image", sets().blind).find("needs images"), std::string::npos);
  EXPECT_NE(refusal("masked_text", sets().wordless).find("needs captions"), std::string::npos);
}

TEST(StandardTasks, OnlyTasksThatCompareTextsWithPicturesSearch) {
  for (const TaskKind& kind : standard_tasks()) {
    RunConfig config = parse_run_config(config_of(std::string(kind.name)), "run.toml", standard_tasks());
    const std::unique_ptr<Group> self = make_self_group("test");
    Session session(config, *self, RankPlace{});
    Inference inference(session.device(), session.mesh(), session.executor(), {.batch = 4});
    const SearchQuery query{.text = "picture 3", .dataset = sets().whole, .tokenizer = sets().tokenizer, .top = 4};
    EXPECT_EQ(config.task->can_search(), kind.name == "contrastive" || kind.name == "coca" || kind.name == "align");
    if (!config.task->can_search()) {
      EXPECT_THROW(config.task->search(inference, query), InternalError);
      continue;
    }
    const std::string text = "text_embedding";
    EXPECT_EQ(session.executor().fields(std::span(&text, 1)), (Names{"lengths", "tokens"}))
        << "a text needs no picture";
    const std::vector<SearchHit> hits = config.task->search(inference, query);
    ASSERT_EQ(hits.size(), 4u) << kind.name;
    EXPECT_TRUE(std::is_sorted(hits.begin(), hits.end(),
                               [](const SearchHit& a, const SearchHit& b) { return a.score > b.score; }));
  }
}

}  // namespace
}  // namespace triptych::test
