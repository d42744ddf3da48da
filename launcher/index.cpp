#include "launcher/index.h"

#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <unistd.h>

#include "base/console.h"
#include "data/index_builder.h"

namespace triptych::launcher {
namespace {

int index(const std::filesystem::path& dir) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const IndexSummary summary = build_index(dir, [&](uint64_t done, uint64_t num_shards) {
    if (!terminal) return;
    print_progress(fmt::format("\r{} of {} shards{}", done, num_shards, done == num_shards ? "\n" : ""));
  });
  print("{}: {} samples in {} shards, {} images, {} captions; wrote index.json and index.bin\n", dir.string(),
        summary.num_samples, summary.num_shards, summary.num_images, summary.num_captions);
  return 0;
}

}  // namespace

void register_index(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("index", "Checks a folder of shards from elsewhere and makes its index");
  const auto dir = std::make_shared<std::filesystem::path>();
  command->add_option("DIR", *dir, "the folder; all its files *.h5 are shards, in the order of their names")
      ->required();
  command->footer(
      "Every shard is read once and held against docs/shard-format.md: types, layout, offsets, UTF-8, image headers,\n"
      "limits, unique ids. HDF5 runs in a child process with limits, since it may crash on a damaged file. Needed "
      "once,\n"
      "and again whenever a shard was changed on purpose; an older index stays until the new one is complete.\n"
      "`triptych ingest` makes the index by itself.\n"
      "\n"
      "Example:\n"
      "  triptych index data/mine");
  command->callback([dir, &run] { run = [dir] { return index(*dir); }; });
}

}  // namespace triptych::launcher
