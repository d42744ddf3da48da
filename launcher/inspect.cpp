#include "launcher/inspect.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "checkpoint/inspect.h"
#include "data/inspect_shard.h"
#include "data/parallel_for.h"
#include "launcher/progress_count.h"

namespace triptych::launcher {
namespace {

namespace fs = std::filesystem;

/// A shard's file, or a folder with shards or an index; everything else is for the checkpoints to judge.
bool is_data(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return path.extension() == ".h5";
  if (fs::exists(path / "index.json", error)) return true;
  return std::ranges::any_of(list_folder(path), [](const fs::path& entry) { return entry.extension() == ".h5"; });
}

}  // namespace

void register_inspect(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("inspect", "Describes a shard, a data set or a checkpoint");
  const auto path = std::make_shared<fs::path>();
  const auto options = std::make_shared<InspectOptions>();
  options->threads = num_processors();
  command->add_option("PATH", *path, "a shard (*.h5), a data set's folder, or a checkpoint: its folder or `latest`")
      ->required();
  command->add_flag("--verify", options->verify, "reads every byte and compares all checksums; names what is damaged");
  command->add_flag("--decode", options->decode,
                    "with data: decodes every image whole; names those whose pixels are cut or damaged");
  const auto tensors = std::make_shared<bool>(false);
  command->add_flag("--tensors", *tensors, "with a checkpoint: lists every tensor's name, type and shape");
  command->add_option("--threads", options->threads, "threads of --decode")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->footer(
      "Exit code 1 if something is damaged, 2 if PATH is neither.\n"
      "\n"
      "Examples:\n"
      "  triptych inspect data/mine\n"
      "  triptych inspect data/mine/shard_00000.h5 --verify\n"
      "  triptych inspect data/mine --decode\n"
      "  triptych inspect runs/quickstart/checkpoints/latest --tensors");
  command->callback([path, options, tensors, &run] {
    run = [path, options, tensors] {
      if (!is_data(*path) && options->decode) {
        throw UserError(path->string(), "is no data, and --decode is about images. Name a shard or a data set.");
      }
      if (is_data(*path) && *tensors) {
        throw UserError(path->string(),
                        "is no checkpoint, and --tensors is about the tensors of one. Name a checkpoint.");
      }
      ProgressCount progress("samples");
      options->progress = [&](uint64_t done) { progress.show(done); };
      const std::string text =
          is_data(*path) ? describe_data(*path, *options) : describe_checkpoint(*path, options->verify, *tensors);
      progress.end();
      print("{}", text);
      return 0;
    };
  });
}

}  // namespace triptych::launcher
