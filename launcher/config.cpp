#include "launcher/config.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "launcher/ranks.h"
#include "training/new_config.h"

namespace triptych::launcher {
namespace {

void write_new_config(const NewConfigRequest& request, const std::filesystem::path& out, TaskTable tasks) {
  const std::string text = new_run_config(request, tasks);
  if (out.empty()) {
    print("{}", text);
    return;
  }
  if (std::filesystem::exists(std::filesystem::symlink_status(out))) {
    throw UserError(out.string(), "is there already, and is not replaced. Name a new file with --out, or remove it");
  }
  write_file_atomically(out, text);
  print("{0} is written. To train: triptych train {0}\n", out.string());
}

void register_new(CLI::App& command, std::function<int()>& run, TaskTable tasks) {
  CLI::App* made =
      command.add_subcommand("new", "Writes a commented config for a data set, which can be trained as it is");
  const auto request = std::make_shared<NewConfigRequest>();
  const auto out = std::make_shared<std::filesystem::path>();
  std::vector<std::string> names;
  for (const TaskKind& kind : tasks) names.emplace_back(kind.name);
  made->add_option("--task", request->task, "What the run is to learn")->required()->check(CLI::IsMember(names));
  made->add_option("--data", request->data, "The data set's folder, with its tokenizer where the task reads texts")
      ->required();
  made->add_option("--run-dir", request->run_dir, "run.dir; else runs/ and the task's name");
  made->add_option("--out", *out, "A new file; else it is printed");
  made->footer(
      "The size of the pictures, of the model and of the texts, the batch and the steps are chosen by what the data "
      "set has;\n"
      "the first comment says how. Every other key stands there with its default and what it means.\n"
      "\n"
      "Example:\n"
      "  triptych config new --task contrastive --data data/mine --out configs/mine.toml");
  made->callback([request, out, tasks, &run] {
    run = [request, out, tasks] {
      write_new_config(*request, *out, tasks);
      return 0;
    };
  });
}

}  // namespace

void register_config(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand(
      "config", "Writes a config for a data set, checks one and prints it in full, or documents the keys");
  command->require_subcommand(1);
  CLI::App* check =
      command->add_subcommand("check", "Says all that is wrong with a config, or prints it with all keys");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  add_config_arguments(*check, *arguments);
  check->callback([arguments, &run] {
    run = [arguments] {
      print("{}",
            load_run_config(arguments->file, arguments->overrides, arguments->tasks, MeshUse::kPlan).effective_toml);
      return 0;
    };
  });
  register_new(*command, run, tasks);
  CLI::App* document = command->add_subcommand("document", "Prints docs/configuration.md: every key, default and rule");
  document->callback([tasks, &run] {
    run = [tasks] {
      print("{}", run_config_documentation(tasks));
      return 0;
    };
  });
}

}  // namespace triptych::launcher
