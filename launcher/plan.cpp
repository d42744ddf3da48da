#include "launcher/plan.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/console.h"
#include "base/file.h"
#include "launcher/plan_memory.h"
#include "launcher/plan_mesh.h"
#include "launcher/plan_stages.h"
#include "launcher/ranks.h"
#include "parallel/pipeline/draw.h"
#include "parallel/pipeline/schedule_text.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"
#include "training/parameter_list.h"

namespace triptych::launcher {

namespace {

constexpr double kMostCost = 1e9;

struct ScheduleOptions {
  std::string schedule = "1f1b";
  int ranks = 4;
  int virtual_stages = 0;
  int microbatches = 8;
  std::string objective = "coupled";
  double forward_cost = 1;
  double backward_cost = 2;
  double input_share = 0.5;
  std::string out;
  std::vector<std::string> told_by_file;  // options that were given, of those that a file of a schedule says
};

Schedule schedule_of(const ScheduleOptions& options) {
  if (is_schedule_file(options.schedule)) {
    if (!options.told_by_file.empty()) {
      throw UserError(options.told_by_file.front(),
                      fmt::format("must be left out where a file says it, found {} and --schedule "
                                  "{}. Leave {} out.",
                                  fmt::join(options.told_by_file, ", "), options.schedule,
                                  options.told_by_file.size() == 1 ? "it" : "them"));
    }
    return parse_schedule(read_text_file(options.schedule, kMaxScheduleBytes), options.schedule, std::nullopt);
  }
  return make_schedule(options.schedule,
                       {.num_ranks = options.ranks,
                        .virtual_stages = options.virtual_stages,
                        .num_microbatches = options.microbatches,
                        .coupling = options.objective == "coupled" ? LossCoupling::kCoupled : LossCoupling::kSplit});
}

void check_out(const std::string& file) {
  if (file.empty() || file.ends_with(".svg") || file.ends_with(".txt")) return;
  throw UserError("--out",
                  fmt::format("must end with .svg, for a picture, or .txt, for a list, found {}. Rename it.", file));
}

int plan_schedule(const ScheduleOptions& options) {
  check_out(options.out);
  const Schedule schedule = schedule_of(options);
  // What is said of costs is of a rank: its stages share it.
  const double share = static_cast<double>(schedule.num_ranks) / schedule.num_stages;
  const Simulation simulation =
      simulate(schedule, StageCosts::uniform(schedule.num_stages, share * options.forward_cost,
                                             share * options.backward_cost, options.input_share));
  print("schedule {}, {} ranks, {} stages, {} microbatches, {} loss, forward {:g}, backward {:g}\n\n{}",
        options.schedule, schedule.num_ranks, schedule.num_stages, schedule.num_microbatches,
        schedule.coupling == LossCoupling::kCoupled ? "coupled" : "split", options.forward_cost, options.backward_cost,
        draw(simulation));
  if (options.out.empty()) return 0;
  write_file_atomically(options.out, options.out.ends_with(".svg") ? draw_svg(simulation) : to_text(schedule));
  print("\nwritten to {}\n", options.out);
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
  register_plan_stages(*plan, run, tasks);
  register_plan_memory(*plan, run, tasks);
  register_plan_mesh(*plan, run, tasks);

  CLI::App* schedule = plan->add_subcommand("schedule", "Draws a pipeline schedule; says its bubble and peak memory");
  const auto options = std::make_shared<ScheduleOptions>();
  schedule
      ->add_option("--schedule", options->schedule,
                   describe_schedules() +
                       "; or the path of a file that lists it, which says the next four itself (docs/parallelism.md)")
      ->capture_default_str();
  CLI::Option* const ranks = schedule->add_option("--ranks", options->ranks, "ranks of the pipeline (parallel.pp)")
                                 ->check(CLI::Range(1, kMaxPipelineRanks))
                                 ->capture_default_str();
  CLI::Option* const virtual_stages =
      schedule
          ->add_option("--virtual-stages", options->virtual_stages,
                       "stages of a rank (parallel.virtual_stages); 0: 2 where the schedule can have several, else 1")
          ->check(CLI::Range(0, kMaxVirtualStages))
          ->capture_default_str();
  CLI::Option* const microbatches =
      schedule->add_option("--microbatches", options->microbatches, "microbatches of a step (parallel.microbatches)")
          ->check(CLI::Range(1, kMaxMicrobatches))
          ->capture_default_str();
  CLI::Option* const objective =
      schedule
          ->add_option(
              "--objective", options->objective,
              "coupled: one loss over the whole batch (contrastive), so all but gpipe embed all microbatches first; "
              "split: a sum over microbatches")
          ->check(CLI::IsMember({"coupled", "split"}))
          ->capture_default_str();
  schedule->add_option("--forward-cost", options->forward_cost, "time of a microbatch's forward on a rank, any unit")
      ->check(CLI::Range(0.0, kMostCost))
      ->capture_default_str();
  schedule->add_option("--backward-cost", options->backward_cost, "time of its backward, in the same unit")
      ->check(CLI::Range(0.0, kMostCost))
      ->capture_default_str();
  schedule
      ->add_option("--input-share", options->input_share,
                   "what part of a backward its input half takes, where the schedule has halves")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  schedule->add_option("--out", options->out,
                       "also write it: FILE.svg, a picture, or FILE.txt, the list that --schedule and "
                       "parallel.schedule read");
  schedule->footer(
      "Examples:\n"
      "  triptych plan schedule --schedule 1f1b --ranks 4 --microbatches 8\n"
      "  triptych plan schedule --schedule interleaved --virtual-stages 2 --objective split\n"
      "\n"
      "A row is a rank, time goes to the right: F2 is the forward of microbatch 2, B2 its backward, E2 a forward\n"
      "that keeps no graph; D2 and W2 are the backward of the inputs and of the weights; F2@5 is of stage 5 where a\n"
      "rank has several. For a wide grid, pipe the output into `less -S`.");
  schedule->callback([=, &run] {
    for (const CLI::Option* told : {ranks, virtual_stages, microbatches, objective}) {
      if (told->count() > 0) options->told_by_file.push_back(told->get_name());
    }
    run = [options] { return plan_schedule(*options); };
  });
}

}  // namespace triptych::launcher
