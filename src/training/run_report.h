#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "report/evaluation_log.h"
#include "report/report.h"
#include "training/run_config.h"

namespace triptych::training {

/// What the config and the data say of a run, for its report: name, value.
///   samples   of the training set
///   hosts     of the ranks, by rank
std::vector<std::pair<std::string, std::string>> report_facts(const RunConfig& config, int64_t parameters,
                                                              uint64_t samples, const std::vector<std::string>& hosts);

/// Puts the numbers of an evaluation during training into their curves: "unseen style: loss" is the loss of that set.
void add_held_out(RunCurves& curves, const EvaluationLine& line);

/// What the files of a run's folder say of it: status.json, metrics.jsonl, evaluations.jsonl, evaluation.json,
/// config.toml, and of a run of before there was a status.json the newest checkpoint. Throws UserError if it is no
/// run's folder, or a file is not what a run writes.
ReportInput read_run(const std::filesystem::path& folder);

/// Makes the report of a run's folder anew, from these files. Throws UserError if the folder is no run's, or there is a
/// report.html that no run wrote. Returns the report's path.
std::filesystem::path write_run_report(const std::filesystem::path& folder);

/// Keeps an evaluation in run.dir as evaluation.json, and makes the report there anew. Throws UserError if there is a
/// report.html or evaluation.json that no run wrote.
void write_evaluation(const RunConfig& config, const EvaluationRecord& evaluation);

/// A page that compares runs, by their folders. Throws UserError as read_run does, and for too few or too many.
std::string compare_runs(const std::vector<std::filesystem::path>& folders);

}  // namespace triptych::training
