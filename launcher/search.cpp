#include "launcher/search.h"

#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/file.h"
#include "data/image_decoder.h"
#include "data/png_writer.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "training/trained_model.h"

namespace triptych::launcher {
namespace {

struct SearchOptions {
  explicit SearchOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::string text;
  std::string data;
  std::filesystem::path out;
  int top = 10;
};

std::string first_caption(const Dataset& dataset, uint64_t sample) {
  SampleBuffer buffer;
  dataset.read(sample, buffer, SampleParts::kCaptions);
  return buffer.num_captions() > 0 ? std::string(buffer.caption(0)) : std::string();
}

void write_pictures(const Dataset& dataset, const std::vector<SearchHit>& hits, const std::filesystem::path& out) {
  std::vector<Image> pictures;
  for (const SearchHit& hit : hits) {
    SampleBuffer buffer;
    dataset.read(static_cast<uint64_t>(hit.sample), buffer, SampleParts::kImage);
    if (!buffer.image.empty()) pictures.push_back(decode_image(buffer.image));
  }
  const Image sheet = contact_sheet(pictures, 5, 128);
  const std::vector<std::byte> png = encode_png(sheet.width, sheet.height, sheet.pixels);
  write_file_atomically(out, std::string_view(reinterpret_cast<const char*>(png.data()), png.size()));
  print("pictures: {}\n", out.string());
}

int search(const SearchOptions& options, const RunConfig& config, World& world) {
  std::string path = options.data;
  std::shared_ptr<const Dataset> dataset;
  together(world.group(), [&] {
    if (path.empty()) {
      path = config.evaluation.sets.empty() ? only_source_of(config.data, "a search") : config.evaluation.sets.front();
    }
    if (!config.task->can_search()) {
      throw UserError("task", "a model of this task does not compare texts with pictures. Search with one that does");
    }
    dataset = std::make_shared<const Dataset>(Dataset::open(path));
    if (!dataset->has_images()) throw UserError(path, "has no images to search. Name another data set with --data");
  });
  TrainedModel model(config, world, options.checkpoint);
  const std::vector<SearchHit> hits = config.task->search(
      model.inference(),
      {.text = options.text, .dataset = dataset, .tokenizer = model.tokenizer(), .top = options.top});
  if (!model.inference().is_first()) return 0;
  print("\"{}\" in {} ({} pictures)\n", options.text, path, dataset->size());
  for (const SearchHit& hit : hits) {
    const auto sample = static_cast<uint64_t>(hit.sample);
    print("{:>8.4f}  {}  {}\n", hit.score, dataset->sample_name(sample), first_caption(*dataset, sample));
  }
  if (!options.out.empty()) write_pictures(*dataset, hits, options.out);
  return 0;
}

}  // namespace

void register_search(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("search", "Finds the pictures of a data set that a text describes");
  const auto options = std::make_shared<SearchOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--text", options->text, "What to look for")->required();
  command->add_option("--checkpoint", options->checkpoint, "latest, a step or a path")->capture_default_str();
  command->add_option("--data", options->data, "Data set to search; otherwise the first of evaluation.sets");
  command->add_option("--top", options->top, "How many")->capture_default_str()->check(CLI::Range(1, 1000));
  command->add_option("--out", options->out, "Also write them as one PNG, best first, row by row");
  command->footer(
      "Example:\n"
      "  triptych search configs/quickstart.toml --checkpoint latest --text \"a red apple\" --out hits.png");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward,
                          [&](const RunConfig& config, World& world) { return search(*options, config, world); });
    };
  });
}

}  // namespace triptych::launcher
