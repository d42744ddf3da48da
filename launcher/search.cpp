#include "launcher/search.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/file.h"
#include "data/image_decoder.h"
#include "data/pixel_reader.h"
#include "data/png_writer.h"
#include "launcher/embedding_files.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "report/report.h"
#include "tasks/results.h"
#include "tasks/search.h"
#include "training/data_config.h"
#include "training/trained_model.h"

namespace triptych::launcher {
namespace {

constexpr uint64_t kMaxImageBytes = uint64_t{256} << 20;
constexpr int64_t kBlockRows = 4096;      // of embeddings that are read at once
constexpr uint32_t kPicturePixels = 192;  // a side, in a page

struct SearchOptions {
  explicit SearchOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::string text;
  std::filesystem::path image, vector, embeddings, out;
  std::string data;
  int64_t top = 10;

  bool is_page() const { return out.extension() == ".html"; }
};

// A hit, as people read it.
struct ShownHit {
  float score = 0;
  uint64_t sample = 0;
  std::string name;     // of the sample
  std::string caption;  // its first, or the one that was found
};

// What is searched, on every rank: a data set's pictures, or the rows of a file and maybe the data set they are of.
struct Candidates {
  std::shared_ptr<const Dataset> dataset;
  std::optional<EmbeddingReader> embeddings;
};

std::vector<std::byte> read_bytes(const std::filesystem::path& file) {
  const std::string bytes = read_text_file(file, kMaxImageBytes);
  const auto* const begin = reinterpret_cast<const std::byte*>(bytes.data());
  return {begin, begin + bytes.size()};
}

// Of length 1.
std::vector<float> read_vector(const std::filesystem::path& path) {
  const NpyFile file = NpyFile::open(path);
  if (file.type() == NpyType::kUInt64 || file.num_rows() != 1) {
    throw UserError(path.string(), fmt::format("must hold one vector of floats, found {} rows. Save one row of them",
                                               file.num_rows()));
  }
  std::vector<float> values = file.read_floats(0, 1);
  double squares = 0;
  for (const float value : values) squares += double{value} * double{value};
  if (!std::isfinite(squares) || squares == 0) {
    throw UserError(path.string(), "must hold a vector with a direction: finite numbers, not all of them 0");
  }
  for (float& value : values) value = static_cast<float>(value / std::sqrt(squares));
  return values;
}

Candidates open_candidates(const SearchOptions& options, const RunConfig& config) {
  Candidates found;
  std::string path = options.data;
  if (!options.embeddings.empty()) {
    found.embeddings.emplace(options.embeddings);
  } else if (path.empty()) {
    path = config.evaluation.sets.empty() ? only_source_of(config.data, "a search") : config.evaluation.sets.front();
  }
  if (path.empty()) return found;
  found.dataset = std::make_shared<const Dataset>(Dataset::open(path));
  if (!found.embeddings && !found.dataset->has_images()) {
    throw UserError(path, "has no images to search. Name another data set with --data");
  }
  return found;
}

void require_width(std::size_t found, int64_t wanted, const std::string& where) {
  if (static_cast<int64_t>(found) == wanted) return;
  throw UserError(where, fmt::format("must have as many columns as what is searched: {}, found {}. Use embeddings of "
                                     "one model",
                                     wanted, found));
}

std::string caption_of(const Dataset& dataset, uint64_t sample, uint64_t text) {
  const std::vector<std::string> captions = captions_of(dataset, static_cast<int64_t>(sample));
  return text < captions.size() ? captions[text] : std::string();
}

// On the first rank.
std::vector<ShownHit> show(const SearchOptions& options, const Candidates& candidates,
                           const std::vector<EmbeddedItem>& items, const std::vector<SearchHit>& hits) {
  std::vector<ShownHit> shown;
  const Dataset* const dataset = candidates.dataset.get();
  for (const SearchHit& hit : hits) {
    ShownHit& next = shown.emplace_back(ShownHit{.score = hit.score, .sample = 0, .name = {}, .caption = {}});
    uint64_t text = 0;
    if (candidates.embeddings) {
      const EmbeddingReader::Id id = candidates.embeddings->id(hit.number);
      next.sample = id.sample;
      text = id.text;
      next.name = fmt::format("sample {} (id {}) caption {}", id.sample, id.id, id.text);
      if (dataset != nullptr && (id.sample >= dataset->size() || dataset->id(id.sample) != id.id)) {
        throw UserError(options.embeddings.string(),
                        fmt::format("must be of the data set {}, which has no sample {} with id {}. Name the one that "
                                    "was embedded with --data, or leave it out",
                                    options.data, id.sample, id.id));
      }
    } else {
      next.sample = items[static_cast<std::size_t>(hit.number)].sample;
    }
    if (dataset == nullptr) continue;
    next.name = dataset->sample_name(next.sample);
    next.caption = caption_of(*dataset, next.sample, text);
  }
  return shown;
}

void write_pictures(const Dataset& dataset, const std::vector<ShownHit>& hits, const std::filesystem::path& out) {
  std::vector<Image> pictures;
  for (const ShownHit& hit : hits) {
    SampleBuffer buffer;
    dataset.read(hit.sample, buffer, SampleParts::kImage);
    if (!buffer.image.empty()) pictures.push_back(decode_image(buffer.image));
  }
  const Image sheet = contact_sheet(pictures, 5, 128);
  const std::vector<std::byte> png = encode_png(sheet.width, sheet.height, sheet.pixels);
  write_file_atomically(out, std::string_view(reinterpret_cast<const char*>(png.data()), png.size()));
}

ReportPicture picture(std::span<const std::byte> encoded, const std::string& description) {
  return {encode_png(kPicturePixels, kPicturePixels, read_for_evaluation(encoded, kPicturePixels, {})), description};
}

// A page with each hit's picture, caption and score.
void write_page(const SearchOptions& options, const Dataset* dataset, const std::vector<ShownHit>& hits,
                const std::string& asked, const std::vector<std::byte>& image) {
  GalleryPanel::Query query{.group = {}, .picture = {}, .text = asked, .truth = {}, .hits = {}};
  if (!image.empty()) query.picture = picture(image, asked);
  for (const ShownHit& hit : hits) {
    GalleryPanel::Hit& next = query.hits.emplace_back();
    next.text = hit.caption.empty() ? hit.name : hit.caption;
    next.score = hit.score;
    if (dataset == nullptr) continue;
    SampleBuffer buffer;
    dataset->read(hit.sample, buffer, SampleParts::kImage);
    if (!buffer.image.empty()) next.picture = picture(buffer.image, next.text);
  }
  ReportInput page;
  page.title = asked;
  page.panels = {GalleryPanel{.title = "Nearest first", .queries = {std::move(query)}}};
  page.facts = {{"hits", std::to_string(hits.size())}};
  write_report(options.out, page);
}

int search(const SearchOptions& options, const RunConfig& config, World& world) {
  Candidates candidates;
  std::vector<float> query;
  std::vector<std::byte> image;
  together(world.group(), [&] {
    const int num_asked = int{!options.text.empty()} + int{!options.image.empty()} + int{!options.vector.empty()};
    if (num_asked != 1) {
      throw UserError(
          "search",
          fmt::format("needs one of --text, --image and --vector, found {}. Name what to look for", num_asked));
    }
    if (!config.task->shared_space()) {
      throw UserError("task", "a model of this task does not compare texts with pictures. Search with one that does");
    }
    if (!options.out.empty() && !options.is_page() && options.out.extension() != ".png") {
      throw UserError("--out", fmt::format("must be a file .html (pictures, captions and scores) or .png (pictures "
                                           "alone), found {}. Name one so",
                                           options.out.string()));
    }
    candidates = open_candidates(options, config);
    if (options.out.extension() == ".png" && (!candidates.dataset || !candidates.dataset->has_images())) {
      throw UserError("--out", "a PNG needs pictures: name the data set that was embedded with --data, or a .html");
    }
    if (!options.vector.empty()) query = read_vector(options.vector);
    if (!options.image.empty()) image = read_bytes(options.image);
  });
  // A vector among rows of a file needs no model.
  std::optional<TrainedModel> model;
  if (options.vector.empty() || !candidates.embeddings) model.emplace(config, world, options.checkpoint);
  const SharedSpace space = *config.task->shared_space();
  if (!options.text.empty()) query = embed_text(model->inference(), space, *model->tokenizer(), options.text);
  if (!options.image.empty()) query = embed_picture(model->inference(), space, image, options.image.string());

  NearestHits nearest(query, options.top);
  std::vector<EmbeddedItem> items;  // by number, of a data set
  if (candidates.embeddings) {
    together(world.group(), [&] {
      require_width(query.size(), candidates.embeddings->width(),
                    options.vector.empty() ? "the model's embedding" : options.vector.string());
      if (world.group().rank() != 0) return;
      const int64_t count = candidates.embeddings->num_rows();
      for (int64_t first = 0; first < count; first += kBlockRows) {
        nearest.add(candidates.embeddings->rows(first, std::min(kBlockRows, count - first)));
      }
    });
  } else {
    embed_set(model->inference(), *config.task, model->tokenizer(), candidates.dataset, EvaluationItems::kSamples,
              [&](std::span<const EmbeddedItem> of_batch, std::span<const float> rows) {
                require_width(query.size(), static_cast<int64_t>(rows.size() / of_batch.size()),
                              options.vector.string());
                items.insert(items.end(), of_batch.begin(), of_batch.end());
                nearest.add(rows);
              });
  }
  together(world.group(), [&] {
    if (world.group().rank() != 0) return;
    const int64_t count = nearest.num_candidates();
    const std::vector<ShownHit> hits = show(options, candidates, items, nearest.take());
    const std::string asked = !options.text.empty()    ? options.text
                              : !options.image.empty() ? options.image.string()
                                                       : options.vector.string();
    const std::string where = candidates.embeddings ? options.embeddings.string() : candidates.dataset->path().string();
    print("\"{}\" in {} ({} {})\n", asked, where, count, candidates.embeddings ? "rows" : "pictures");
    for (const ShownHit& hit : hits) {
      print("{:>8.4f}  {}{}{}\n", hit.score, hit.name, hit.caption.empty() ? "" : "  ", hit.caption);
    }
    if (options.out.empty()) return;
    options.is_page() ? write_page(options, candidates.dataset.get(), hits, asked, image)
                      : write_pictures(*candidates.dataset, hits, options.out);
    print("{}: {}\n", options.is_page() ? "page" : "pictures", options.out.string());
  });
  return 0;
}

}  // namespace

void register_search(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("search", "Finds what is nearest to a text, a picture or a vector");
  const auto options = std::make_shared<SearchOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--text", options->text, "Look for what is nearest to a text");
  command->add_option("--image", options->image, "To a picture: a JPEG, PNG or WebP file")->check(CLI::ExistingFile);
  command->add_option("--vector", options->vector,
                      "To a vector: a .npy file of float32 or float16, [width] or [1, width], of any length");
  command->add_option("--checkpoint", options->checkpoint, "latest, best, a step or a path")->capture_default_str();
  command->add_option(
      "--data", options->data,
      "Data set whose pictures are searched; otherwise the first of evaluation.sets. With --embeddings, "
      "the data set that they are of, for captions and pictures");
  command->add_option("--embeddings", options->embeddings,
                      "FILE.npy of `triptych embed`, with its FILE.ids.npy: searched instead, pictures or texts");
  command->add_option("--top", options->top, "How many")->capture_default_str()->check(CLI::Range(1, 1000));
  command->add_option("--out", options->out,
                      "Also write them, best first: FILE.html with pictures, captions and scores, or FILE.png with the "
                      "pictures alone");
  command->footer(
      "Examples:\n"
      "  triptych search configs/quickstart.toml --checkpoint latest --text \"a red apple\" --out hits.html\n"
      "  triptych search configs/quickstart.toml --image apple.png --data data/emoji/train\n"
      "  triptych search configs/quickstart.toml --text \"a red apple\" --embeddings pictures.npy");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward,
                          [&](const RunConfig& config, World& world) { return search(*options, config, world); });
    };
  });
}

}  // namespace triptych::launcher
