#include "launcher/eval.h"

#include <filesystem>
#include <memory>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "launcher/ranks.h"
#include "training/evaluation.h"

namespace triptych {

void register_eval(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("eval", "Measures retrieval on evaluation.sets and writes report.html");
  const auto arguments = std::make_shared<ConfigArguments>();
  const auto checkpoint = std::make_shared<std::string>("latest");
  const auto baseline_files = std::make_shared<std::vector<std::filesystem::path>>();
  add_config_arguments(*command, *arguments);
  command->add_option("--checkpoint", *checkpoint, "latest, a step or a path; of any mesh")->capture_default_str();
  command->add_option("--baseline", *baseline_files,
                      "JSON file with results of something else, shown beside the model's under the file's name");
  command->footer(
      "Recall@k: the share of queries whose own partner is among the first k of all candidates, image to text and "
      "text\n"
      "to image; beside it chance, and what is given with --baseline, such as launcher/pixel_baseline.py makes. One "
      "rank.\n"
      "Example:\n"
      "  triptych eval configs/quickstart.toml --checkpoint latest");
  command->callback([arguments, checkpoint, baseline_files, &run] {
    run = [arguments, checkpoint, baseline_files] {
      return run_alone(*arguments, [&](const RunConfig& config) {
        std::vector<Baseline> baselines;
        for (const std::filesystem::path& file : *baseline_files) baselines.push_back(Baseline::read(file));
        Embedder embedder(config, *checkpoint);
        fmt::print("{}\n", embedder.checkpoint().string());
        const Evaluation evaluation = evaluate(config, embedder, baselines);
        fmt::print("{}", format_table(evaluation.results));
        write_run_report(config, embedder.num_parameters(), &evaluation);
        fmt::print("report: {}/report.html\n", config.run.dir);
        return 0;
      });
    };
  });
}

}  // namespace triptych
