#include "launcher/search.h"

#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/file.h"
#include "data/image_decoder.h"
#include "data/png_writer.h"
#include "launcher/ranks.h"
#include "training/retrieval.h"

namespace triptych {
namespace {

struct SearchOptions {
  ConfigArguments config;
  std::string checkpoint = "latest";
  std::string text;
  std::string data;
  std::filesystem::path out;
  int top = 10;
};

int search(const SearchOptions& options, const RunConfig& config) {
  std::string path = options.data;
  if (path.empty()) path = config.evaluation.sets.empty() ? config.data.path : config.evaluation.sets.front();
  const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
  if (!dataset->has_images()) throw UserError(path, "has no images to search. Name another data set with --data");
  Embedder embedder(config, options.checkpoint);
  const std::vector<float> query = embedder.embed_texts({options.text});
  const std::vector<float> images = embedder.embed(dataset).images;
  const std::vector<float> scores = similarities(embedder.device(), query, images, embedder.width());
  const std::vector<std::string> captions = first_captions(*dataset);
  std::vector<Image> pictures;
  fmt::print("\"{}\" in {} ({} pictures)\n", options.text, path, dataset->size());
  for (const int64_t hit : best(scores.data(), static_cast<int64_t>(scores.size()), 1, options.top)) {
    const auto i = static_cast<std::size_t>(hit);
    fmt::print("{:>8.4f}  {}  {}\n", scores[i], dataset->sample_name(i), captions[i]);
    SampleBuffer buffer;
    dataset->read(i, buffer, SampleParts::kImage);
    if (!buffer.image.empty()) pictures.push_back(decode_image(buffer.image));
  }
  if (!options.out.empty()) {
    const Image sheet = contact_sheet(pictures, 5, 128);
    const std::vector<std::byte> png = encode_png(sheet.width, sheet.height, sheet.pixels);
    write_file_atomically(options.out, std::string_view(reinterpret_cast<const char*>(png.data()), png.size()));
    fmt::print("pictures: {}\n", options.out.string());
  }
  return 0;
}

}  // namespace

void register_search(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("search", "Finds the pictures of a data set that a text describes");
  const auto options = std::make_shared<SearchOptions>();
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
      return run_alone(options->config, [&](const RunConfig& config) { return search(*options, config); });
    };
  });
}

}  // namespace triptych
