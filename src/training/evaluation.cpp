#include "training/evaluation.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <numeric>

#include "data/image_decoder.h"
#include "data/png_writer.h"
#include "evaluation/retrieval_metrics.h"
#include "report/report.h"

namespace triptych {
namespace {

constexpr int64_t kExamples = 6, kHits = 5;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

ReportPicture picture_of(const Dataset& dataset, int64_t i, const std::string& description) {
  SampleBuffer buffer;
  dataset.read(static_cast<uint64_t>(i), buffer, SampleParts::kImage);
  const Image image = decode_image(buffer.image);
  return {encode_png(image.width, image.height, image.pixels), description};
}

// Evenly spaced samples as queries: not chosen by how well they do.
void add_examples(Evaluation& result, const std::string& name, const Dataset& dataset,
                  const std::vector<std::string>& captions, const std::vector<float>& scores) {
  const auto n = static_cast<int64_t>(dataset.size());
  const auto caption = [&](int64_t i) { return captions[static_cast<std::size_t>(i)]; };
  const int64_t count = std::min(kExamples, n);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t query = k * n / count + n / (2 * count);
    GalleryPanel::Query text{.group = name, .text = caption(query)};
    for (const int64_t hit : best(scores.data() + query, n, n, kHits)) {
      text.hits.push_back({.picture = picture_of(dataset, hit, caption(hit)),
                           .score = scores[static_cast<std::size_t>(hit * n + query)],
                           .correct = hit == query});
    }
    result.from_text.queries.push_back(std::move(text));
    GalleryPanel::Query picture{
        .group = name, .picture = picture_of(dataset, query, caption(query)), .truth = caption(query)};
    for (const int64_t hit : best(scores.data() + query * n, n, 1, kHits)) {
      picture.hits.push_back(
          {.text = caption(hit), .score = scores[static_cast<std::size_t>(query * n + hit)], .correct = hit == query});
    }
    result.from_pictures.queries.push_back(std::move(picture));
  }
}

TablePanel::Row row_of(const std::string& source, const RecallAtK& recall) {
  TablePanel::Row row{source, {}};
  for (const double value : {recall.at_1, recall.at_5, recall.at_10}) {
    row.values.push_back({.number = value, .is_share = true});
  }
  return row;
}

// Query i's own candidate is candidate i.
RecallCounter counter_of(const std::vector<float>& scores, int64_t n, bool by_column) {
  std::vector<int64_t> samples(static_cast<std::size_t>(n));
  std::iota(samples.begin(), samples.end(), 0);
  RecallCounter counter(samples, samples);
  counter.add({.scores = scores.data(),
               .num_queries = n,
               .num_candidates = n,
               .query_stride = by_column ? 1 : n,
               .candidate_stride = by_column ? n : 1});
  return counter;
}

std::string folder_name(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

std::string set_name(const std::string& path) {
  std::string name = folder_name(path);
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

}  // namespace

Evaluation evaluate(const RunConfig& config, Embedder& embedder, std::span<const Baseline> baselines) {
  if (config.evaluation.sets.empty()) {
    throw UserError("evaluation.sets", "names no data set. Set it, for example to [\"data/emoji/unseen_style\"]");
  }
  Evaluation result{.results = {.title = "Results",
                                .caption = "Share of queries whose right answer is among the first 1, 5 or 10.",
                                .subject_head = "Set and direction",
                                .columns = {"Recall@1", "Recall@5", "Recall@10"}},
                    .from_text = {.title = "From text to pictures"},
                    .from_pictures = {.title = "From pictures to text"}};
  for (const std::string& path : config.evaluation.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    if (!dataset->has_images() || !dataset->has_captions()) {
      throw UserError(path, "retrieval needs images and captions; this data set lacks one");
    }
    const auto n = static_cast<int64_t>(dataset->size());
    const Embedder::Embeddings embeddings = embedder.embed(dataset);
    const std::vector<float> scores =
        similarities(embedder.device(), embeddings.images, embeddings.texts, embedder.width());
    for (const bool to_image : {false, true}) {
      const RecallCounter model = counter_of(scores, n, to_image);
      const std::string direction = to_image ? "text to image" : "image to text";
      std::vector<TablePanel::Row> rows{row_of("model", model.recall())};
      for (const Baseline& baseline : baselines) {
        const auto value = [&](const char* metric) {
          return baseline.value(folder_name(path), direction + " " + metric).value_or(kNaN);
        };
        rows.push_back(row_of(baseline.name(), {value("recall@1"), value("recall@5"), value("recall@10")}));
      }
      rows.push_back(row_of("chance", model.chance()));
      result.results.subjects.push_back({.name = set_name(path),
                                         .notes = {direction, fmt::format("{} queries, {} candidates", n, n)},
                                         .rows = std::move(rows)});
    }
    add_examples(result, set_name(path), *dataset, first_captions(*dataset), scores);
  }
  return result;
}

void write_run_report(const RunConfig& config, int64_t num_parameters, const Evaluation* evaluation) {
  const std::filesystem::path folder = config.run.dir;
  ReportInput input;
  input.title = folder.filename().string();
  input.metrics = read_metrics(folder / "metrics.jsonl");
  const MeshShape& mesh = config.parallel.mesh;
  double seconds = 0;
  for (const StepMetrics& line : input.metrics) seconds += line.step_ms / 1e3;
  input.facts = {{"parameters", std::to_string(num_parameters)},
                 {"steps", input.metrics.empty() ? "0" : std::to_string(input.metrics.back().step)},
                 {"time in steps", fmt::format("{:.0f} s", seconds)},
                 {"global batch", std::to_string(config.training.global_batch)},
                 {"precision", std::string(precision_name(config.training.precision))},
                 {"mesh of this command", fmt::format("pp {} x dp {} x tp {}", mesh.pp, mesh.dp, mesh.tp)},
                 {"data", config.data.path}};
  if (evaluation != nullptr) {
    input.panels = {evaluation->results, evaluation->from_text, evaluation->from_pictures};
  }
  input.config_toml = config.effective_toml;
  write_report(folder / "report.html", input);
}

}  // namespace triptych
