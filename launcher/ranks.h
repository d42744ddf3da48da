#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "parallel/world.h"
#include "training/run_config.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// A config file and `--set` overrides, as every subcommand that takes a run's config has them.
struct ConfigArguments {
  explicit ConfigArguments(TaskTable known_tasks) : tasks(known_tasks) {}

  TaskTable tasks;  ///< that the config may name
  std::filesystem::path file;
  std::vector<std::string> overrides;
};
void add_config_arguments(CLI::App& command, ConfigArguments& arguments);

/// Reads the config, starts MPI if this process is one of several ranks, and runs `body` on each. An error that all
/// ranks have in common is printed once; an error of one rank ends them all. Returns the exit code.
int run_on_ranks(const ConfigArguments& arguments, MeshUse mesh_use,
                 const std::function<int(const RunConfig&, World&)>& body);

/// Prints an error as the program prints all of them, with host and rank where there are several; returns its exit
/// code.
int report_error(const std::exception& error, const std::string& who = "");

/// The same of arguments that no rank can start with, which all ranks of a launcher have in common: prints it once.
int report_misuse(const UserError& error);

}  // namespace triptych::launcher
