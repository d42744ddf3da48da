#pragma once

#include <filesystem>
#include <string>

#include "training/run_config.h"

namespace triptych::training {

struct NewConfigRequest {
  std::string task;            ///< a name of the table
  std::filesystem::path data;  ///< an indexed data set, with a tokenizer where the task reads texts
  std::string run_dir;         ///< of the run; empty: "runs/<task>"
};

/// A run's complete config for a data set, commented, that training takes as it is: its first comment says what the
/// data set has, and which values were chosen by that and why; all others are the defaults. Which keys are chosen
/// depends on those that the task has, so a program's own tasks get theirs too.
///
/// Reads the index, and some texts, evenly spaced. Throws UserError if there is no such task or data set, if the data
/// set lacks what the task needs, or if its tokenizer is missing.
std::string new_run_config(const NewConfigRequest& request, TaskTable tasks);

}  // namespace triptych::training
