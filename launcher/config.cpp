#include "launcher/config.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/ranks.h"

namespace triptych::launcher {

void register_config(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("config", "Checks a config and prints it in full, or documents the keys");
  command->require_subcommand(1);
  CLI::App* check =
      command->add_subcommand("check", "Says all that is wrong with a config, or prints it with all keys");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  add_config_arguments(*check, *arguments);
  check->callback([arguments, &run] {
    run = [arguments] {
      print("{}", load_run_config(arguments->file, arguments->overrides, arguments->tasks).effective_toml);
      return 0;
    };
  });
  CLI::App* document = command->add_subcommand("document", "Prints docs/configuration.md: every key, default and rule");
  document->callback([tasks, &run] {
    run = [tasks] {
      print("{}", run_config_documentation(tasks));
      return 0;
    };
  });
}

}  // namespace triptych::launcher
