#include "launcher/ranks.h"

#include <exception>
#include <memory>
#include <new>
#include <span>

#include <CLI/CLI.hpp>

#include "base/console.h"
#include "base/hash.h"
#include "base/program_identity.h"
#include "device/backend.h"
#include "launcher/backend.h"
#include "launcher/memory_budget.h"
#include "parallel/agreement.h"
#include "parallel/peer_error.h"
#include "parallel/pipeline/schedule_text.h"

namespace triptych::launcher {

void add_config_arguments(CLI::App& command, ConfigArguments& arguments) {
  command.add_option("config", arguments.file, "The run's TOML file, such as configs/quickstart.toml")->required();
  command.add_option("--set", arguments.overrides, "Overrides a key: --set optimizer.learning_rate=3e-4 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

namespace {

constexpr const char* kOutOfMemory =
    "[memory] the system must give the memory that is asked for, it refused. Free some, or raise the limit on the "
    "address space (`ulimit -v`)";

}  // namespace

int report_error(const std::exception& error, const std::string& who) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  const bool is_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  print_error(
      fmt::format("{}{}", is_memory ? kOutOfMemory : error.what(), who.empty() ? "" : fmt::format(" ({})", who)));
  return ours != nullptr ? ours->exit_code() : 1;
}

int report_misuse(const UserError& error) {
  try {
    const std::unique_ptr<World> world = make_world({});
    try {
      together(world->group(), [&] { throw error; });
    } catch (const AgreedError&) {
      if (world->group().rank() != 0) return error.exit_code();
    } catch (const Error&) {  // of one rank alone, or that a rank has gone before
    }
  } catch (const Error&) {  // ranks that cannot find each other
  }
  return report_error(error);
}

namespace {

// "n1, rank 3/8".
std::string place_text(World& world) {
  return fmt::format("{}, rank {}/{}", world.host(), world.group().rank(), world.group().size());
}

// Of one out of a file, which may be another on each machine: the config only names it.
std::string schedule_hash(const RunConfig& config) {
  if (!is_schedule_file(config.parallel.schedule)) return config.parallel.schedule;
  const std::string text = to_text(schedule_of(config));
  return fmt::format("{:016x}", hash64(std::as_bytes(std::span(text))));
}

// Ranks that were started with different files, overrides or programs would wait for each other in collectives that do
// not match, or compute what does not fit together.
void require_equal_programs(const RunConfig& config, const std::string& schedule, World& world) {
  const uint64_t config_hash = hash64(std::as_bytes(std::span(config.effective_toml)));
  const std::vector<SharedFact> facts{{"config", fmt::format("{:016x}", config_hash)},
                                      {"schedule (hash)", schedule},
                                      {"program", fmt::format("triptych {}", program_version())},
                                      {"backend", std::string(backend_kind())},
                                      {"compiler", compiler_text()},
                                      {"build (hash)", world.group().size() > 1 ? program_hash() : ""}};
  require_equal_facts(world.group(), "ranks", world.host(), facts,
                      "Start all ranks with one program, one file and the same --set; `triptych config check` prints "
                      "what a rank sees");
}

}  // namespace

int run_on_ranks(const ConfigArguments& arguments, MeshUse mesh_use,
                 const std::function<int(const RunConfig&, World&)>& body) {
  // The config says how long to wait for peers, so it is read before there are any; what is wrong with it is told when
  // all can agree on who tells it.
  WorldOptions options;
  try {
    const RunConfig config = load_run_config(arguments.file, arguments.overrides, arguments.tasks);
    options.timeout = std::chrono::seconds(config.run.timeout_s);
    hand_over_to(config.run.device);
  } catch (const std::exception&) {
  }
  const std::unique_ptr<World> world = make_world(options);
  Group& group = world->group();
  try {
    RunConfig config;
    std::string schedule;
    together(group, [&] {
      config = load_run_config(arguments.file, arguments.overrides, arguments.tasks, mesh_use, group.size());
      schedule = schedule_hash(config);
    });
    require_equal_programs(config, schedule, *world);
    together(group, [&] { require_backend(config.run.device); });
    if (mesh_use == MeshUse::kSteps) fit_memory_budget(config, arguments, group);
    return body(config, *world);
  } catch (const AgreedError& error) {
    return group.rank() == 0 ? report_error(error) : error.exit_code();
  } catch (const PeerError& error) {
    // All who wait for that peer come here; one of them tells.
    const Error told(error.kind(), fmt::format("{}. {}", error.what(), world->ask_all(error)));
    const int code = report_error(told, place_text(*world));
    world->abort(code);
    return code;  // not reached
  } catch (const std::exception& error) {
    const bool several = group.size() > 1;
    const int code = report_error(error, several ? place_text(*world) : "");
    if (several) world->abort(code);
    return code;
  }
}

}  // namespace triptych::launcher
