#pragma once

#include "config/config_reader.h"
#include "training/run_config.h"

namespace triptych::training {

/// Reads and checks the keys of [data] that all tasks have; what is wrong is told to the reader.
void read_data(ConfigReader& reader, DataOptions& data);

/// The sources of a run, however its config names them; none if it names none.
std::vector<DataSource> data_sources(const DataOptions& data);

/// What one data set is asked for: that of a run that has one source. Throws UserError if it has several, since `use`
/// (such as "a linear probe") takes one; empty if it has none.
std::string only_source_of(const DataOptions& data, std::string_view use);

}  // namespace triptych::training
