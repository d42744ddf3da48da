#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "report/evaluation_file.h"
#include "report/html.h"
#include "report/report.h"
#include "report/run_status.h"

namespace triptych::test {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

EvaluationRecord record_of_each_panel() {
  const ReportPicture picture{bytes_of("\x89PNG\xff"), "a <picture>"};
  EvaluationRecord record{.step = 7, .checkpoint = "runs/a/step_7", .time = "2026-03-01T12:00:00Z"};
  record.metrics = {{"unseen: recall@1", 1.0 / 3}, {"none", std::nan("")}};
  record.facts = {{"parameters", "12"}};
  record.meanings = {{"raw <pixels>", "what & why"}};
  record.panels.push_back(
      TablePanel{.title = "Results",
                 .caption = "how",
                 .subject_head = "set",
                 .columns = {"r@1", "r@5"},
                 .subjects = {{"unseen",
                               {"10 queries"},
                               {{"model", {{.number = 0.1, .is_share = true, .change = -0.5}, {.text = "x"}}}}}}});
  record.panels.push_back(
      GalleryPanel{.title = "Found",
                   .queries = {{.group = "g",
                                .picture = picture,
                                .text = "t\xff",
                                .truth = "u",
                                .hits = {{.picture = picture, .text = "h", .score = 0.5, .correct = true}, {}}}}});
  record.panels.push_back(
      ConfusionPanel{.title = "Mixed", .caption = "c", .class_names = {"a", "b"}, .cells = {{0, 1, 5}, {1, 1, 2}}});
  record.panels.push_back(ExamplesPanel{.title = "Said",
                                        .caption = "c",
                                        .examples = {{.group = "g",
                                                      .picture = picture,
                                                      .asked = "?",
                                                      .truth = "t",
                                                      .produced = "p",
                                                      .score = 0.25,
                                                      .correct = true,
                                                      .maps = {picture}}}});
  record.panels.push_back(BoxesPanel{.title = "Boxes",
                                     .caption = "c",
                                     .examples = {{.group = "g",
                                                   .picture = picture,
                                                   .asked = "a",
                                                   .boxes = {{0.25, 0.5, 0.75, 1, "cat", true, true, 0.125}}}}});
  return record;
}

// What a reader sees of a record: its page.
std::string page_of(const EvaluationRecord& record) {
  return render_report({.title = "t", .evaluation = record});
}

TEST(EvaluationFile, ReadsBackToTheSamePage) {
  const EvaluationRecord record = record_of_each_panel();
  const std::string json = evaluation_to_json(record);
  const EvaluationRecord read = evaluation_from_json(json, "here");
  EXPECT_EQ(page_of(read), page_of(record));
  EXPECT_EQ(evaluation_to_json(read), json);
  EXPECT_EQ(read.metrics[0], record.metrics[0]) << "to the same bits";
  EXPECT_TRUE(std::isnan(read.metrics[1].second));
  for (const char* part :
       {"raw &lt;pixels&gt;", "what &amp; why", "Measured at step 7, 2026-03-01 12:00 UTC", "Found", "<rect"}) {
    EXPECT_NE(page_of(read).find(part), std::string::npos) << part;
  }
}

TEST(EvaluationFile, RefusesWhatItDidNotWrite) {
  const std::string good = evaluation_to_json(record_of_each_panel());
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  const std::vector<std::string> bad{
      "",
      "[]",
      "{",
      good.substr(0, good.size() / 2),
      changed("triptych-evaluation", "triptych-run"),
      changed("\"version\": 1", "\"version\": 2"),
      changed("\"step\": 7", "\"step\": \"7\""),
      changed("\"kind\": \"table\"", "\"kind\": \"chair\""),
      changed("\"r@5\"", "\"r@5\", 3"),
      changed(",\n    \"r@5\"", ""),                // a row longer than its table
      changed("\"png\": \"iVB", "\"png\": \"i*B"),  // no base64
      changed("\"class_names\": [", "\"class_names\": 3, \"x\": ["),
      changed("     1,\n     5", "     2,\n     5"),  // a cell of no class
  };
  for (const std::string& text : bad) {
    EXPECT_THROW(evaluation_from_json(text, "here"), UserError) << text.substr(0, 300);
  }
}

TEST(Base64, TakesBackWhatItGaveAndNothingElse) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(bytes_of_base64(base64(bytes)), bytes);
    bytes.push_back(static_cast<std::byte>(i * 37));
  }
  for (const char* bad : {"Zg=", "Zg", "Z===", "====", "Zg==Zg==", "Zh==", "Zm9=", "Zg\n=", "Zm8-"}) {
    EXPECT_FALSE(bytes_of_base64(bad)) << bad;
  }
}

TEST(StatusFile, ReadsBackToTheSameAndRefusesOthers) {
  RunStatus status{.phase = RunPhase::kStopped,
                   .step = 5,
                   .last_step = 10,
                   .message = "why",
                   .started = "a",
                   .updated = "b",
                   .program = "c"};
  status.facts = {{"mesh", "pp 2"}, {"a", "b\xff"}};
  status.ranks = {{.rank = 0,
                   .host = "h",
                   .place = "p",
                   .steps = 5,
                   .steps_s = 1.5,
                   .loader_wait_s = 0.5,
                   .peer_wait_s = std::nan(""),
                   .cpu_s = 2,
                   .rss_mb = 64,
                   .pool_peak_mb = 32}};
  status.planned = PlannedStep{.cluster = "<c>", .step_ms = 250, .wait_ms = 50, .peak_mb = 40};
  const std::string json = status_to_json(status);
  const RunStatus read = status_from_json(json, "here");
  EXPECT_EQ(status_to_json(read), json);
  EXPECT_EQ(read.phase, RunPhase::kStopped);
  EXPECT_EQ(read.facts[0], status.facts[0]);
  EXPECT_TRUE(std::isnan(read.ranks[0].peer_wait_s));
  EXPECT_EQ(to_text(rank_time_from_text(to_text(status.ranks[0]))), to_text(status.ranks[0]));
  // Of before there were pools and plans.
  std::string old = json.substr(0, json.find(",\n \"planned\"")) + "\n}";
  old.replace(old.find("\"pool_peak_mb\""), 14, "\"something else\"");
  EXPECT_FALSE(status_from_json(old, "here").planned);
  EXPECT_TRUE(std::isnan(status_from_json(old, "here").ranks[0].pool_peak_mb));
  std::string other = json;
  other.replace(other.find("stopped"), 7, "ascends");
  for (const std::string& text : {std::string(), std::string("{}"), json.substr(0, 80), other}) {
    EXPECT_THROW(status_from_json(text, "here"), UserError) << text;
  }
}

TEST(ReportState, IsToldInWords) {
  RunStatus status{.step = 50, .last_step = 200, .updated = "2026-03-01T12:00:00Z"};
  ReportInput input{.title = "t", .status = status};
  for (int step = 1; step <= 50; ++step) {
    StepMetrics line;
    line.step = step;
    line.step_ms = 2000;
    input.curves.add(line);
  }
  EXPECT_NE(
      render_report(input).find("Running</b> step 50 of 200, 25 %, about 5 min to go, as of 2026-03-01 12:00 UTC"),
      std::string::npos);
  input.status->phase = RunPhase::kFailed;
  input.status->message = "<why>";
  const std::string page = render_report(input);
  EXPECT_NE(page.find("Failed</b> step 50 of 200, 25 %, as of"), std::string::npos);
  EXPECT_NE(page.find("&lt;why&gt;"), std::string::npos);
}

TEST(ReportPlan, StandsBesideTheMeanOfTheRanks) {
  RunStatus status{.updated = "b"};
  status.ranks = {{.steps = 4, .steps_s = 2, .loader_wait_s = 0.4, .peer_wait_s = 0.2, .pool_peak_mb = 30},
                  {.rank = 1, .steps = 4, .steps_s = 2, .loader_wait_s = 0, .peer_wait_s = 0.6, .pool_peak_mb = 20}};
  const ReportInput without{.title = "t", .status = status};
  EXPECT_EQ(render_report(without).find("Planned"), std::string::npos);
  status.planned = PlannedStep{.cluster = "<c>", .step_ms = 250, .wait_ms = 50, .peak_mb = 40};
  const std::string page = render_report({.title = "t", .status = status});
  EXPECT_NE(page.find("on &lt;c&gt;"), std::string::npos);
  // (2 - 0.4 + 2) s over 8 steps; (0.2 + 0.6) s over 8.
  const std::size_t measured = page.find(">measured<"), planned = page.find(">planned<");
  ASSERT_LT(measured, planned);
  ASSERT_NE(planned, std::string::npos);
  const std::string_view first = std::string_view(page).substr(measured, planned - measured);
  for (const char* number : {"450", "100", "30"}) EXPECT_NE(first.find(number), std::string::npos) << number << first;
  const std::string_view second = std::string_view(page).substr(planned, 600);
  for (const char* number : {"250", "50", "40"}) EXPECT_NE(second.find(number), std::string::npos) << number;
}

TEST(Comparison, TellsTheRunsApart) {
  std::vector<ComparedRun> runs;
  for (const char* name : {"first", "second <b>"}) {
    ComparedRun run{.name = name, .report = {.title = name}};
    for (int step = 1; step <= 10; ++step) {
      StepMetrics line;
      line.step = step;
      line.loss = (runs.empty() ? 1.0 : 2.0) / step;
      line.step_ms = 1000;
      run.report.curves.add(line);
    }
    run.report.curves.add_held_out(10, "unseen", "loss", runs.empty() ? 0.25 : 0.75);
    run.report.status = RunStatus{.facts = {{"mesh", runs.empty() ? "pp 1" : "pp 2"}, {"device", "cpu"}}};
    runs.push_back(run);
  }
  const std::string page = render_comparison("both", runs, {{"optimizer.learning_rate", {"0.001", ""}}});
  for (const char* part : {"second &lt;b&gt;", "class=\"line c0\"", "class=\"line c1\"", "Loss by time in steps",
                           "pp 2", "unseen: loss, while training", "<bdi>0.25</bdi>", "<bdi>0.75</bdi>",
                           "optimizer.learning_rate", "<bdi>0.001</bdi>", "<bdi>–</bdi>", "0.1000", "0.2000"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(page.find(">device<"), std::string::npos) << "what all have is left out";
  EXPECT_EQ(page.find("<b>second"), std::string::npos);
  EXPECT_THROW(render_comparison("none", {}, {}), InternalError);
}

}  // namespace
}  // namespace triptych::test
