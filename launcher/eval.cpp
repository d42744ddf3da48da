#include "launcher/eval.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "launcher/ranks.h"
#include "training/evaluation.h"

namespace triptych {

void register_eval(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("eval", "Measures retrieval on evaluation.sets and writes report.html");
  const auto arguments = std::make_shared<ConfigArguments>();
  const auto checkpoint = std::make_shared<std::string>("latest");
  add_config_arguments(*command, *arguments);
  command->add_option("--checkpoint", *checkpoint, "latest, a step or a path; of any mesh")->capture_default_str();
  command->footer(
      "Recall@k: the share of queries whose own partner is among the first k of all candidates, image to text and "
      "text\n"
      "to image; beside it chance, and what the nearest training picture's caption gives (raw pixels). One rank.\n"
      "Example:\n"
      "  triptych eval configs/quickstart.toml --checkpoint latest");
  command->callback([arguments, checkpoint, &run] {
    run = [arguments, checkpoint] {
      return run_alone(*arguments, [&](const RunConfig& config) {
        Embedder embedder(config, *checkpoint);
        fmt::print("{}\n", embedder.checkpoint().string());
        const Evaluation evaluation = evaluate(config, embedder);
        fmt::print("{}", format_table(evaluation.results));
        write_run_report(config, embedder.num_parameters(), &evaluation);
        fmt::print("report: {}/report.html\n", config.run.dir);
        return 0;
      });
    };
  });
}

}  // namespace triptych
