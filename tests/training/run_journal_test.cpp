#include "training/run_journal.h"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "data/scratch_folder.h"
#include "tasks/standard_tasks.h"
#include "training/run_folder.h"
#include "training/run_report.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class Journal : public ::testing::Test {
 protected:
  Journal()
      : config_(parse_run_config(fmt::format("[run]\ndir = \"{}\"\n[training]\nsteps = 9\n", run_.string()), "test",
                                 standard_tasks())) {
    RunFolder(run_).begin(FolderUse::kNew, config_.effective_toml, "", std::nullopt);
  }
  RunJournal::Options options(int64_t step = 0, milliseconds first = milliseconds(0)) {
    return {.step = step,
            .facts = {{"mesh", "pp 2"}},
            .last_step = 9,
            .warn = [this](const std::string& text) { warnings_.push_back(text); },
            .first_report = first,
            .fewest_between = milliseconds(0),
            .report_share = 0};
  }
  static StepMetrics line(int64_t step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = 1.0 / static_cast<double>(step);
    metrics.step_ms = 10;
    metrics.time = 1e9 + static_cast<double>(step);
    return metrics;
  }
  std::string text(const std::string& name) { return read_text_file(run_ / name, 1 << 24); }
  bool page_has(const std::string& part) { return text("report.html").find(part) != std::string::npos; }
  std::size_t num_events() {
    std::size_t count = 0;
    for (const fs::path& path : list_folder(run_)) count += is_event_file(path);
    return count;
  }

  ScratchFolder scratch_;
  const fs::path run_ = scratch_ / "run";
  const RunConfig config_;
  std::vector<std::string> warnings_;
};

// What a killed process leaves is what stood there before it was killed.
TEST_F(Journal, AReportIsThereWhileTheRunGoesOn) {
  RunJournal journal(config_, options());
  EXPECT_FALSE(fs::exists(run_ / "report.html"));
  journal.add(line(1));
  EXPECT_TRUE(page_has("Running</b> step 1 of 9, 11 %, about 0 s to go"));
  EXPECT_TRUE(page_has("pp 2"));
  journal.add(EvaluationLine{.step = 1, .metrics = {{"unseen style: loss", 0.625}}});
  journal.add(line(2));
  EXPECT_TRUE(page_has("step 2 of 9"));
  EXPECT_TRUE(page_has("<bdi>unseen style</bdi> <b>0.625</b>"));
  EXPECT_EQ(read_metrics(run_ / "metrics.jsonl").size(), 2u);
  // A run is known while it is still at work, with all that it wrote.
  EXPECT_NO_THROW(RunFolder(run_).require_usable(FolderUse::kGoOn));
  EXPECT_EQ(read_status(run_)->phase, RunPhase::kRunning);
  journal.set_ranks({{.rank = 0, .host = "here", .place = "pp 0", .steps = 2, .steps_s = 1}});
  journal.finish(RunPhase::kFinished);
  EXPECT_TRUE(page_has("Finished</b> 9 steps"));
  EXPECT_TRUE(page_has("Time by rank"));
  EXPECT_EQ(warnings_, std::vector<std::string>{});
}

TEST_F(Journal, ReportsAreSeldomWhereTheyAreDear) {
  RunJournal::Options seldom = options(0, std::chrono::hours(1));
  RunJournal journal(config_, seldom);
  for (int64_t step = 1; step <= 3; ++step) journal.add(line(step));
  EXPECT_FALSE(fs::exists(run_ / "report.html"));
}

TEST_F(Journal, AnErrorThatEndsTheRunIsInTheReport) {
  EXPECT_THROW(
      {
        RunJournal journal(config_, options(0, std::chrono::hours(1)));
        journal.add(line(1));
        throw std::runtime_error("a disk is full");
      },
      std::runtime_error);
  EXPECT_TRUE(page_has("Failed</b> step 1 of 9"));
  EXPECT_EQ(read_status(run_)->phase, RunPhase::kFailed);
}

TEST_F(Journal, GoingOnBeginsAnotherEventFileAndForgetsLaterSteps) {
  {
    RunJournal journal(config_, options());
    for (int64_t step = 1; step <= 5; ++step) journal.add(line(step));
    journal.finish(RunPhase::kStopped);
  }
  RunJournal journal(config_, options(3));
  journal.add(line(4));
  EXPECT_EQ(num_events(), 2u);
  const ReportInput read = read_run(run_);
  EXPECT_EQ(read.curves.find("loss")->outline().size(), 4u);
  EXPECT_TRUE(page_has("Running</b> step 4 of 9"));
}

TEST_F(Journal, AReportThatCannotBeWrittenIsToldOnce) {
  write_file_atomically(run_ / "report.html", "mine");
  RunJournal journal(config_, options());
  for (int64_t step = 1; step <= 3; ++step) journal.add(line(step));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("no run of this program wrote"), std::string::npos) << warnings_[0];
  EXPECT_EQ(text("report.html"), "mine");
  EXPECT_THROW(journal.finish(RunPhase::kFinished), UserError);
}

TEST_F(Journal, AnotherRunSetsAsideOrRemovesAllThatOneWrote) {
  const auto names = [&] {
    std::vector<std::string> found;
    for (const fs::path& path : list_folder(run_)) {
      if (path.filename() != "checkpoints" && path.filename() != "run.lock") found.push_back(path.filename().string());
    }
    return found;
  };
  const auto write_all = [&] {
    RunJournal journal(config_, options());
    journal.add(line(1));
    journal.finish(RunPhase::kFinished);
    write_evaluation(config_, {.step = 1});
  };
  write_all();
  RunFolder(run_).begin(FolderUse::kNew, config_.effective_toml, "", std::nullopt);
  EXPECT_EQ(names(),
            (std::vector<std::string>{"config.toml", "earlier_events.aside", "evaluation.json.aside",
                                      "metrics.jsonl.aside", "report.html.aside", "run.json", "status.json.aside"}));
  EXPECT_EQ(num_events(), 0u) << "TensorBoard reads whatever has tfevents in its name";
  write_all();
  write_file_atomically(run_ / "events.out.tfevents.1700000000.mine", "of somebody");
  RunFolder(run_).begin(FolderUse::kOverwrite, config_.effective_toml, "", std::nullopt);
  EXPECT_EQ(names(), (std::vector<std::string>{"config.toml", "earlier_events.aside", "evaluation.json.aside",
                                               "events.out.tfevents.1700000000.mine", "metrics.jsonl.aside",
                                               "report.html.aside", "run.json", "status.json.aside"}));
}

}  // namespace
}  // namespace triptych::test
