#include "training/run_journal.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "base/file.h"
#include "base/program_identity.h"
#include "training/run_folder.h"
#include "training/run_report.h"

namespace triptych::training {

RunJournal::RunJournal(const RunConfig& config, Options options)
    : config_(config),
      options_(std::move(options)),
      metrics_(config_.run.dir, options_.step),
      events_(config_.run.dir, options_.step + 1, seconds_now()),
      next_report_(Clock::now() + options_.first_report),
      num_exceptions_(std::uncaught_exceptions()) {
  const std::filesystem::path folder = config_.run.dir;
  RunStatus status;
  status.step = options_.step;
  status.last_step = options_.last_step;
  status.started = started_of_run(folder);
  status.program = program_release();
  status.facts = options_.facts;
  status.planned = options_.planned;
  try {
    input_ = read_run(folder);
  } catch (const Error& error) {
    options_.warn(fmt::format("the report begins without what was there: {}", error.what()));
    input_.title = folder.filename().string();
  }
  input_.facts.clear();
  input_.status = std::move(status);
  input_.config_toml = config_.effective_toml;
  events_.write_text(options_.step, seconds_now(), "config", fmt::format("```toml\n{}\n```\n", config_.effective_toml));
}

RunJournal::~RunJournal() {
  if (is_finished_ || std::uncaught_exceptions() <= num_exceptions_) return;
  try {
    write_report(RunPhase::kFailed, "It ended with an error, which the program printed.");
  } catch (const std::exception&) {  // the error that ends the run is the one to tell
  }
}

void RunJournal::add(const StepMetrics& line) {
  metrics_.write(line);
  events_.write_scalars(line.step, line.time, tagged_metrics(line));
  input_.curves.add(line);
  input_.status->step = line.step;
  const Clock::time_point now = Clock::now();
  if (now < next_report_) return;
  try {
    write_report(RunPhase::kRunning, "");
  } catch (const Error& error) {
    if (!has_warned_) options_.warn(fmt::format("the report was not written: {}", error.what()));
    has_warned_ = true;
  }
  const Clock::time_point end = Clock::now();
  next_report_ = end + std::max<Clock::duration>(options_.fewest_between, options_.report_share * (end - now));
}

void RunJournal::add(const EvaluationLine& line) {
  std::vector<std::pair<std::string, double>> tagged;
  for (const auto& [name, value] : line.metrics) {
    // "unseen style: loss" stands in TensorBoard's group of that set.
    std::string tag = name;
    if (const std::size_t colon = tag.find(": "); colon != std::string::npos) tag.replace(colon, 2, "/");
    tagged.emplace_back("held-out " + tag, value);
  }
  events_.write_scalars(line.step, seconds_now(), tagged);
  add_held_out(input_.curves, line);
}

void RunJournal::sync() {
  metrics_.sync();
  events_.sync();
}

void RunJournal::finish(RunPhase phase, const std::string& message) {
  write_report(phase, message);
  is_finished_ = true;
}

void RunJournal::write_report(RunPhase phase, const std::string& message) {
  const std::filesystem::path folder = config_.run.dir;
  require_report_of_ours(folder);
  input_.status->phase = phase;
  input_.status->message = message;
  input_.status->updated = utc_time_text();
  write_file_atomically(folder / kStatusName, status_to_json(*input_.status));
  report::write_report(folder / "report.html", input_);
}

}  // namespace triptych::training
