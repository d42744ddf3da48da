#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/evaluation_log.h"
#include "report/event_file.h"
#include "report/metrics.h"
#include "report/report.h"
#include "training/run_config.h"

namespace triptych::training {

/// What a training run writes for those who look at it, on rank 0 alone: a line a step of metrics.jsonl, TensorBoard's
/// events, and every so often status.json and report.html. The first report comes after 10 s, the next ones every 30 s
/// or more: so that they take no more than a 200th of the time.
class RunJournal {
 public:
  struct Options {
    int64_t step = 0;                                        ///< that the run goes on after
    std::vector<std::pair<std::string, std::string>> facts;  ///< of the report: name, value
    int64_t last_step = 0;                                   ///< where this part of the run ends
    std::optional<PlannedStep> planned;                      ///< of a step
    std::function<void(const std::string&)> warn;  ///< told once that a report was not written, with the reason
    std::chrono::milliseconds first_report{10'000};
    std::chrono::milliseconds fewest_between{30'000};
    int report_share = 200;  ///< reports take at most one part in so many of the time
  };
  /// Opens the files of run.dir, behind RunFolder::begin. Throws WorldError if that cannot be done.
  RunJournal(const RunConfig& config, Options options);
  /// Of a run that ends with an exception: the last report says so, if it can be written.
  ~RunJournal();
  RunJournal(const RunJournal&) = delete;
  RunJournal& operator=(const RunJournal&) = delete;

  /// A step's line, and now and then a report. Throws WorldError if the line cannot be written; a report that cannot is
  /// no error: it is told once.
  void add(const StepMetrics& line);
  /// What an evaluation during training found, for the events and the report: evaluations.jsonl has it already.
  void add(const EvaluationLine& line);
  /// From now on the report shows these.
  void set_ranks(std::vector<RankTime> ranks) { input_.status->ranks = std::move(ranks); }
  /// Makes what was written survive a power cut.
  void sync();
  /// The last report. Throws WorldError if it cannot be written.
  void finish(RunPhase phase, const std::string& message = "");

 private:
  using Clock = std::chrono::steady_clock;
  void write_report(RunPhase phase, const std::string& message);

  RunConfig config_;
  Options options_;
  MetricsWriter metrics_;
  EventFile events_;
  ReportInput input_;
  Clock::time_point next_report_;
  int num_exceptions_;
  bool is_finished_ = false, has_warned_ = false;
};

}  // namespace triptych::training
