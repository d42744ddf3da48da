#pragma once

#include <map>
#include <string>
#include <vector>

#include "launcher/scaling_result.h"

namespace triptych::launcher {

/// SVG files by name: throughput.svg and efficiency.svg, by ranks beside the ideal; time.svg and memory.svg, by part.
/// What is planned stands beside what was measured. Axes are of logarithms where the most ranks are eight times the
/// fewest or more.
std::map<std::string, std::string> scaling_plots(const std::vector<ScalingRuns>& runs,
                                                 const std::vector<ScalingSummary>& summaries);

}  // namespace triptych::launcher
