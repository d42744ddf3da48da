#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "small_tasks.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

// 11 pictures with two captions each, of a model that has learned nothing.
TEST(LanguageTask, IsMeasuredByPerplexityAndByWhatItWrites) {
  const std::string path = small_sets().whole->path().string();
  const double pieces = static_cast<double>(small_sets().tokenizer->size());
  for (const std::string kind : {"none", "linear", "resampler", "gated_cross_attention"}) {
    const Found found = evaluate(
        "task = \"language\"\ndecoding.methods = [\"greedy\", \"nucleus\"]\n" +
            fmt::format("model.connector = {{kind = \"{}\", queries = 3, layers = 1}}\n", kind) + kImage + kText,
        1, {path});
    const bool has_pictures = kind != "none";
    Names names{"all of it: perplexity"};
    if (has_pictures) names.emplace_back("all of it: perplexity, text only");
    names.emplace_back("all of it: perplexity of token frequencies");
    for (const char* method : {"greedy", "nucleus"}) {
      if (has_pictures) append(names, caption_metrics(fmt::format("all of it, {}", method)));
    }
    EXPECT_EQ(found.names(), names) << kind;
    EXPECT_EQ(found.titles(), has_pictures ? (Names{"Perplexity", "Captions", "Captions written"})
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
        const int32_t length = small_sets().tokenizer->encode(text, ids);
        for (int32_t t = 1; t < length; ++t) ++counts[ids[static_cast<std::size_t>(t)]];
        total += length - 1;
      }
    }
    double entropy = 0;
    for (const auto& [token, count] : counts) entropy -= count / total * std::log(count / total);
    EXPECT_NEAR(found.metric("all of it: perplexity of token frequencies"), std::exp(entropy),
                1e-9 * std::exp(entropy));
    EXPECT_EQ(table.notes, Names{fmt::format("{:.0f} tokens", total)});
    ASSERT_EQ(table.rows.size(), has_pictures ? 4u : 3u);
    EXPECT_EQ(table.rows.back().values[0].number, pieces);
    if (has_pictures) {
      // Gates of 0 let nothing of the picture through: it makes no difference that it is hidden.
      const bool is_closed = kind == "gated_cross_attention";
      EXPECT_EQ(table.rows[1].values[0].change == 0, is_closed) << kind;
      for (const char* metric : {"chrF", "BLEU"}) {
        const std::string name = fmt::format("all of it, greedy {}", metric);
        if (is_closed) {
          EXPECT_EQ(found.metric(name + ", text only"), found.metric(name)) << name;
        }
      }
    }
    const auto& examples = std::get<ExamplesPanel>(found.panels.back()).examples;
    EXPECT_EQ(examples.size(), has_pictures ? 12u : 4u) << "6 pictures by 2 methods; 1 text, and 3 that are drawn";
  }
}

// Answers are compared with all that are right; the loader's rows are the prompts.
TEST(LanguageTask, AnswersQuestions) {
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
    EXPECT_NE(user_error_of([&] { config.task->check_data(*small_sets().whole); }).find("needs questions"),
              std::string::npos);
    const Found found = evaluate(text, 1, {path});
    const bool has_pictures = kind != "none";
    Names names{"asked: answer accuracy", "asked: VQA score"};
    if (has_pictures) {
      append(names, {"asked: answer accuracy, image only", "asked: VQA score, image only",
                     "asked: answer accuracy, text only", "asked: VQA score, text only"});
    }
    EXPECT_EQ(found.names(), names);
    TablePanel::Subject table = std::get<TablePanel>(found.panels[0]).subjects[0];
    EXPECT_EQ(table.notes, Names{"7 questions"});
    ASSERT_EQ(table.rows.size(), has_pictures ? 5u : 3u);
    if (kind == "gated_cross_attention") {
      EXPECT_EQ(table.rows[2].values[0].change, 0) << "closed gates";
    }
    if (has_pictures) table.rows.erase(table.rows.begin() + 1, table.rows.begin() + 3);
    // The first answer of 4 of the 7 is "picture 2".
    EXPECT_DOUBLE_EQ(table.rows[1].values[0].number, 4.0 / 7);
    EXPECT_DOUBLE_EQ(table.rows[2].values[0].number, 4.0 / 7);
    EXPECT_EQ(std::get<ExamplesPanel>(found.panels[1]).examples.size(), 6u);
    for (const int ranks : {2, 3}) EXPECT_EQ(evaluate(text, ranks, {path}).metrics, found.metrics);
  }
}

}  // namespace
}  // namespace triptych::test
