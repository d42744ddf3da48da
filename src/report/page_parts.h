#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/report.h"

// What the pages of a run and of several have in common.

namespace triptych::report::internal {

/// A page from its beginning to `<main>`; `lead` is HTML below the title.
std::string page_begin(std::string_view title, std::string_view lead);
std::string page_end();

/// "rows_per_s" -> "Rows per s", "loss.matching" -> "Loss: matching", as a heading.
std::string heading_of(std::string_view key);

/// "2026-03-01T12:00:00Z" -> "2026-03-01 12:00 UTC"; what has another form as it is.
std::string time_words(std::string_view time);

/// The figures of one run: what it learns, and how fast.
std::string run_figures(const RunCurves& curves);
/// Those of several in common frames.
std::string compared_figures(const std::vector<ComparedRun>& runs);

/// Time by rank; "" if it is not known.
std::string rank_times(const std::vector<RankTime>& ranks);

/// What was planned of a step beside what was measured; "" if nothing was, or nothing is measured yet.
std::string planned_beside_measured(const RunStatus& status);

/// A table of names and values under a heading; "" without rows.
std::string facts_table(std::string_view heading, const std::vector<std::pair<std::string, std::string>>& facts);

/// What names in tables stand for; "" if there is nothing to tell.
std::string meanings_list(const std::vector<std::pair<std::string, std::string>>& meanings);

}  // namespace triptych::report::internal
