#include "launcher/explain.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/file.h"
#include "data/class_names.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "report/report.h"
#include "tasks/explain.h"
#include "tasks/explanation_page.h"
#include "training/data_config.h"
#include "training/trained_model.h"

namespace triptych::launcher {
namespace {

constexpr uint64_t kMaxImageBytes = uint64_t{256} << 20;

struct ExplainOptions {
  explicit ExplainOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::filesystem::path image, out;
  std::string text;
  std::optional<int64_t> class_number;

  bool is_json() const { return out.extension() == ".json"; }
};

// What can be found wrong before the model is read.
void check(const ExplainOptions& options, const RunConfig& config, int num_ranks) {
  if (num_ranks > 1) {
    throw UserError("explain", fmt::format("runs on one rank, found {}. Start it without mpirun", num_ranks));
  }
  if (!config.task->can_explain()) {
    throw UserError("task", "where a model of this task looks cannot be shown. Explain one with an image encoder");
  }
  if (!options.is_json() && options.out.extension() != ".html") {
    throw UserError("--out", fmt::format("must be a file .html or .json, found {}. Name one so", options.out.string()));
  }
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(options.image, ignored)) {
    throw UserError("--image", fmt::format("must be a file, found none at {}. Name a picture", options.image.string()));
  }
}

// Those of the first data set of the config that has any.
std::vector<std::string> class_names(const RunConfig& config) {
  std::vector<std::string> sets = config.evaluation.sets;
  for (const DataSource& source : data_sources(config.data)) sets.push_back(source.path);
  for (const std::string& set : sets) {
    std::vector<std::string> names = set.empty() ? std::vector<std::string>() : read_class_names(set);
    if (!names.empty()) return names;
  }
  return {};
}

void write_page(const ExplainOptions& options, const TrainedModel& model, const Explanation& explanation) {
  ReportInput page;
  page.title = options.image.filename().string();
  page.panels = explanation_panels(explanation);
  page.facts = {{"checkpoint", model.folder().string()}, {"step", std::to_string(model.step())}};
  if (!explanation.text.empty()) page.facts.emplace_back("text", explanation.text);
  write_report(options.out, page);
}

int explain(const ExplainOptions& options, const RunConfig& config, World& world) {
  ExplainInputs inputs{.name = options.image.string(),
                       .image = {},
                       .text = options.text,
                       .class_number = options.class_number,
                       .class_names = {},
                       .tokenizer = nullptr};
  together(world.group(), [&] {
    check(options, config, world.group().size());
    const std::string bytes = read_text_file(options.image, kMaxImageBytes);
    const std::span<const std::byte> encoded = std::as_bytes(std::span(bytes));
    inputs.image.assign(encoded.begin(), encoded.end());
    inputs.class_names = class_names(config);
  });
  TrainedModel model(config, world, options.checkpoint);
  inputs.tokenizer = model.tokenizer();
  Explanation explanation = config.task->explain(model.inference(), inputs);
  explanation.gates = gate_values(model.session().store().all());
  if (options.is_json()) {
    write_file_atomically(options.out, explanation_json(explanation));
  } else {
    write_page(options, model, explanation);
  }
  if (!explanation.text.empty()) print("\"{}\"\n", explanation.text);
  for (const auto& [name, value] : explanation.scores) print("{:>8.4f}  {}\n", value, name);
  print("{}\n", options.out.string());
  return 0;
}

}  // namespace

void register_explain(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand(
      "explain", "Shows where a run's model looks in a picture: attention, rollout, relevance, words");
  const auto options = std::make_shared<ExplainOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--image", options->image, "A JPEG, PNG or WebP file")->required();
  command->add_option("--out", options->out, "FILE.html, a page with pictures, or FILE.json, the numbers")->required();
  command->add_option("--checkpoint", options->checkpoint, "latest, a step or a path; of any mesh")
      ->capture_default_str();
  command->add_option("--text", options->text,
                      "What to compare the picture with; with a captioner: what to read instead of what it writes "
                      "itself; with a model that answers: the question");
  command->add_option("--class", options->class_number,
                      "With classes or answers to choose from: the one whose score to explain; otherwise the best");
  command->footer(
      "On one rank. docs/explain.md says what the maps are.\n"
      "Examples:\n"
      "  triptych explain configs/fashion_mnist.toml --image shirt.png --out shirt.html\n"
      "  triptych explain configs/quickstart.toml --image apple.png --text \"red apple\" --out apple.html\n"
      "  triptych explain configs/emoji_captions.toml --image apple.png --out apple.json");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward,
                          [&](const RunConfig& config, World& world) { return explain(*options, config, world); });
    };
  });
}

}  // namespace triptych::launcher
