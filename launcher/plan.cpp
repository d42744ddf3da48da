#include "launcher/plan.h"

#include <algorithm>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/ranks.h"
#include "parallel/pipeline/draw.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"
#include "training/parameter_list.h"

namespace triptych::launcher {

namespace {

struct ScheduleOptions {
  std::string schedule = "1f1b";
  int stages = 4;
  int microbatches = 8;
  std::string objective = "coupled";
  double forward_cost = 1;
  double backward_cost = 2;
};

int plan_schedule(const ScheduleOptions& options) {
  const LossCoupling coupling = options.objective == "coupled" ? LossCoupling::kCoupled : LossCoupling::kSplit;
  const Schedule schedule = make_schedule(options.schedule, options.stages, options.microbatches, coupling);
  const Simulation simulation =
      simulate(schedule, StageCosts::uniform(schedule.num_stages, options.forward_cost, options.backward_cost));
  print("schedule {}, {} stages, {} microbatches, {} loss, forward {:g}, backward {:g}\n\n{}", options.schedule,
        options.stages, options.microbatches, options.objective, options.forward_cost, options.backward_cost,
        draw(simulation));
  return 0;
}

int plan_parameters(const ConfigArguments& arguments) {
  const auto parameters = list_parameters(load_run_config(arguments.file, arguments.overrides, arguments.tasks));
  std::size_t width = 0;
  for (const ListedParameter& parameter : parameters) width = std::max(width, parameter.name.size());
  for (const ListedParameter& parameter : parameters) {
    print("{:<{}}  {:>12}  {}\n", parameter.name, width, parameter.shape.num_elements(), parameter.shape.to_string());
  }
  print("{:<{}}  {:>12}\n", fmt::format("{} parameters", parameters.size()), width, count_elements(parameters));
  return 0;
}

void register_parameters(CLI::App& plan, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      plan.add_subcommand("parameters", "Lists a config's parameters with their elements and shapes, and counts them");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  add_config_arguments(*command, *arguments);
  command->footer(
      "Takes no memory for them: a model of any size can be counted.\n"
      "\n"
      "Example:\n"
      "  triptych plan parameters configs/models/clip_vit_b32.toml");
  command->callback([arguments, &run] { run = [arguments] { return plan_parameters(*arguments); }; });
}

}  // namespace

void register_plan(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* plan = app.add_subcommand("plan", "Works out on paper how a run would go; needs no data, ranks or memory");
  plan->require_subcommand(1);
  register_parameters(*plan, run, tasks);

  CLI::App* schedule = plan->add_subcommand("schedule", "Draws a pipeline schedule; says its bubble and peak memory");
  const auto options = std::make_shared<ScheduleOptions>();
  schedule->add_option("--schedule", options->schedule, describe_schedules())
      ->check(CLI::IsMember(schedule_names()))
      ->capture_default_str();
  schedule->add_option("--stages", options->stages, "pipeline stages (parallel.pp)")
      ->check(CLI::Range(1, kMaxPipelineRanks))
      ->capture_default_str();
  schedule->add_option("--microbatches", options->microbatches, "microbatches of a step (parallel.microbatches)")
      ->check(CLI::Range(1, kMaxMicrobatches))
      ->capture_default_str();
  schedule
      ->add_option("--objective", options->objective,
                   "coupled: one loss over the whole batch (contrastive), so 1f1b embeds all microbatches first; "
                   "split: a sum over microbatches")
      ->check(CLI::IsMember({"coupled", "split"}))
      ->capture_default_str();
  schedule->add_option("--forward-cost", options->forward_cost, "time of a microbatch's forward on a stage, any unit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  schedule->add_option("--backward-cost", options->backward_cost, "time of its backward, in the same unit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  schedule->footer(
      "Example:\n"
      "  triptych plan schedule --schedule 1f1b --stages 4 --microbatches 8\n"
      "\n"
      "A row is a stage, time goes to the right: F2 is the forward of microbatch 2, B2 its backward, E2 a forward\n"
      "that keeps no graph. For a wide grid, pipe the output into `less -S`.");
  schedule->callback([options, &run] { run = [options] { return plan_schedule(*options); }; });
}

}  // namespace triptych::launcher
