#include "launcher/ranks.h"

#include <exception>
#include <memory>
#include <new>
#include <span>

#include <CLI/CLI.hpp>

#include "base/console.h"
#include "base/hash.h"
#include "launcher/backend.h"
#include "parallel/agreement.h"

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

namespace {

// Ranks that were started with different files or overrides would wait for each other in collectives that do not match.
void require_equal_configs(const RunConfig& config, World& world) {
  const std::vector<std::string> hashes = world.group().all_gather_string(
      fmt::format("{:016x} on {}", hash64(std::as_bytes(std::span(config.effective_toml))), world.host()));
  const auto hash_of = [&](std::size_t rank) { return hashes[rank].substr(0, hashes[rank].find(' ')); };
  together(world.group(), [&] {
    for (std::size_t rank = 1; rank < hashes.size(); ++rank) {
      if (hash_of(rank) == hash_of(0)) continue;
      throw UserError("config",
                      fmt::format("every rank must have the same one: rank 0 has {}, rank {} has {}. Start "
                                  "all ranks with one file and the same --set; `triptych config check` prints "
                                  "what a rank sees",
                                  hashes[0], rank, hashes[rank]));
    }
  });
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
    together(group, [&] {
      config = load_run_config(arguments.file, arguments.overrides, arguments.tasks, mesh_use, group.size());
    });
    require_equal_configs(config, *world);
    together(group, [&] { require_backend(config.run.device); });
    return body(config, *world);
  } catch (const AgreedError& error) {
    return group.rank() == 0 ? report_error(error) : error.exit_code();
  } catch (const std::exception& error) {
    const bool several = group.size() > 1;
    const int code =
        report_error(error, several ? fmt::format("{}, rank {}/{}", world->host(), group.rank(), group.size()) : "");
    if (several) world->abort(code);
    return code;
  }
}

}  // namespace triptych::launcher
