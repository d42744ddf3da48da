#pragma once

#include <cstdint>
#include <vector>

#include "report/panel.h"
#include "training/run_config.h"

namespace triptych::training {

/// run.dir/report.html from the run's metrics and, after an evaluation, its panels. Throws UserError if a report.html
/// is there that no run wrote.
void write_run_report(const RunConfig& config, int64_t num_parameters, const std::vector<Panel>& panels);

}  // namespace triptych::training
