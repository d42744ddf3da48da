#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "report/metrics.h"

namespace triptych::training {

/// What a run tells of its sources before the first step, a line each: of several, each one's size, share and length of
/// an epoch; then which parts some samples lack, and which source goes round in one order.
///   weights  of the sources
///   batch    the global one
std::vector<std::string> notes_of_sources(const Dataset& dataset, const std::vector<double>& weights, uint64_t batch);

/// Adds to a step's metrics how many samples of each of several sources were seen in `num_samples` in all: "samples_0",
/// "samples_1", ... in the order of the config. Nothing of one source.
void add_source_samples(const std::vector<double>& weights, uint64_t num_samples, StepMetrics& line);

}  // namespace triptych::training
