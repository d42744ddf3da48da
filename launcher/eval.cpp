#include "launcher/eval.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/program_identity.h"
#include "data/about.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "training/data_config.h"
#include "training/held_out.h"
#include "training/run_folder.h"
#include "training/run_report.h"
#include "training/trained_model.h"

namespace triptych::launcher {
namespace {

struct EvalOptions {
  explicit EvalOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::vector<std::filesystem::path> baselines;
  bool is_json = false;
  bool is_probe = false;
  ProbeOptions probe;
};

// Every number that was measured, by its name, with all its digits; null where it is not finite.
std::string json_of(const EvaluationResults& results) {
  nlohmann::ordered_json numbers = nlohmann::ordered_json::object();
  for (const auto& [name, value] : results.metrics) numbers[name] = value;
  return numbers.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// What a reader who was not there must be told of: the names of sets and baselines.
std::vector<std::pair<std::string, std::string>> meanings(const RunConfig& config,
                                                          const std::vector<Baseline>& baselines) {
  std::vector<std::pair<std::string, std::string>> told;
  for (const std::string& path : config.evaluation.sets) {
    if (std::string about = read_about(path); !about.empty()) told.emplace_back(set_name(path), std::move(about));
  }
  for (const Baseline& baseline : baselines) {
    if (!baseline.about().empty()) told.emplace_back(baseline.name(), baseline.about());
  }
  return told;
}

int evaluate(const EvalOptions& options, const RunConfig& config, World& world) {
  std::vector<Baseline> baselines;
  std::vector<SharedFact> facts;
  std::string training_set;  // of a probe
  together(world.group(), [&] {
    facts = check_evaluation_sets(config, options.is_probe);
    require_report_of_ours(config.run.dir);  // before the work, not after it
    for (const std::filesystem::path& file : options.baselines) baselines.push_back(Baseline::read(file));
    if (options.is_probe) {
      training_set = only_source_of(config.data, "a linear probe");
      check_probe(*config.task, {.training_set = training_set, .sets = config.evaluation.sets, .tokenizer = {}});
      facts.push_back({"samples to learn from (hash)", Dataset::open(training_set).content_hash().hex()});
    }
  });
  require_equal_facts(world.group(), "evaluation.sets", world.host(), facts,
                      "Put the same data before every node: an older copy may be left on one");
  TrainedModel model(config, world, options.checkpoint);
  world.doing("evaluation");
  Inference& inference = model.inference();
  // With --json standard output is the numbers', and what people read goes to standard error.
  const auto tell = [&](const std::string& text) { options.is_json ? print_progress(text) : print_text(text); };
  if (inference.is_first()) tell(fmt::format("{}\n", model.folder().string()));
  EvaluationRecord record{.step = model.step(), .checkpoint = model.folder().string()};
  record.facts = {{"parameters", std::to_string(model.session().num_parameters())}, {"checkpoint", record.checkpoint}};
  const EvaluationResults results =
      options.is_probe
          ? probe_features(
                *config.task, inference,
                {.training_set = training_set, .sets = config.evaluation.sets, .tokenizer = model.tokenizer()},
                options.probe)
          : measure_sets(config, inference,
                         {.sets = config.evaluation.sets,
                          .tokenizer = model.tokenizer(),
                          .baselines = baselines,
                          .maps = config.evaluation.maps});
  if (!inference.is_first()) return 0;
  for (const Panel& panel : results.panels) {
    if (const auto* table = std::get_if<TablePanel>(&panel))
      tell(fmt::format("\n{}\n{}", table->title, format_table(*table)));
  }
  record.time = utc_time_text();
  record.metrics = results.metrics;
  record.panels = results.panels;
  record.meanings = meanings(config, baselines);
  write_evaluation(config, record);
  tell(fmt::format("\nreport: {}/report.html\n", config.run.dir));
  if (options.is_json) print_text(json_of(results));
  return 0;
}

}  // namespace

void register_eval(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      app.add_subcommand("eval", "Measures a run's model on evaluation.sets, as its task says, and writes report.html");
  const auto options = std::make_shared<EvalOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--baseline", options->baselines,
                      "JSON file with results of something else, shown beside the model's under the file's name; "
                      "launcher/pixel_baseline.py makes one");
  command->add_option("--checkpoint", options->checkpoint, "latest, best, a step or a path; of any mesh")
      ->capture_default_str();
  command->add_flag("--json", options->is_json,
                    "Prints every number that was measured, by its name, as one JSON object on standard output; the "
                    "tables go to standard error");
  CLI::Option* const probe = command->add_flag("--probe", options->is_probe,
                                               "Measures the features instead: a linear classifier over them learns "
                                               "the labels of data.path; the model is not changed");
  command
      ->add_option("--shots", options->probe.shots,
                   "with --probe: also learn from this many pictures per class; several numbers separated by commas")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->needs(probe);
  command->add_option("--draws", options->probe.draws, "with --shots: how often they are drawn")
      ->check(CLI::Range(1, 1000))
      ->needs(probe)
      ->capture_default_str();
  command
      ->add_option("--penalty", options->probe.regression.penalty,
                   "with --probe: half of it times the squared norm of the weights is added to the mean loss")
      ->check(CLI::PositiveNumber)
      ->needs(probe)
      ->capture_default_str();
  command->footer(
      "On as many ranks as are started: on the config's mesh if it has so many, else each is a replica.\n"
      "Examples:\n"
      "  triptych eval configs/quickstart.toml --checkpoint latest\n"
      "  mpirun -np 2 triptych eval configs/quickstart.toml\n"
      "  triptych eval configs/quickstart.toml --checkpoint best --json > results.json\n"
      "  triptych eval configs/fashion_mnist.toml --probe --shots 1,4,16");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward,
                          [&](const RunConfig& config, World& world) { return evaluate(*options, config, world); });
    };
  });
}

}  // namespace triptych::launcher
