#include "tasks/retrieval_results.h"

#include <algorithm>
#include <limits>

#include "evaluation/retrieval.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr int64_t kHits = 5;

void add_direction(EvaluationResults& results, TablePanel& table, const EvaluationInputs& inputs,
                   const Dataset& dataset, const std::string& path, const std::string& direction, int64_t num_queries,
                   const RecallAtK& model, const RecallAtK& chance) {
  const std::string set = set_name(path);
  const auto row = [](const std::string& source, const RecallAtK& recall) {
    return TablePanel::Row{source, {share_value(recall.at_1), share_value(recall.at_5), share_value(recall.at_10)}};
  };
  std::vector<TablePanel::Row> rows{row("model", model)};
  for (TablePanel::Row& other :
       baseline_rows(inputs, path, {direction + " recall@1", direction + " recall@5", direction + " recall@10"})) {
    rows.push_back(std::move(other));
  }
  rows.push_back(row("chance", chance));
  table.subjects.push_back({.name = set,
                            .notes = with_lacking({direction, fmt::format("{} queries", num_queries)}, dataset, kPairs),
                            .rows = std::move(rows)});
  const auto add = [&](const char* measure, double value) {
    results.metrics.emplace_back(fmt::format("{}: {} {}", set, direction, measure), value);
  };
  add("recall@1", model.at_1);
  add("recall@5", model.at_5);
  add("recall@10", model.at_10);
}

void add_examples(GalleryPanel& gallery, const std::string& set, const Dataset& dataset, Device& device,
                  const Embeddings& images, const Embeddings& texts, const std::vector<int64_t>& sample_of_text) {
  const auto sample_of = [&](int64_t text) { return sample_of_text[static_cast<std::size_t>(text)]; };
  // Texts go by samples, in order.
  const auto caption = [&](int64_t text) {
    const auto first = std::lower_bound(sample_of_text.begin(), sample_of_text.end(), sample_of(text));
    return captions_of(dataset, sample_of(text)).at(static_cast<std::size_t>(text - (first - sample_of_text.begin())));
  };
  const auto first_caption = [&](int64_t sample) {
    const std::vector<std::string> captions = captions_of(dataset, sample);
    return captions.empty() ? std::string() : captions.front();
  };
  const auto scores_of = [&](const Embeddings& queries, int64_t query, const Embeddings& candidates) {
    std::vector<float> scores = similarities(device, queries, query, 1, candidates);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (!candidates.has(static_cast<int64_t>(i))) scores[i] = -std::numeric_limits<float>::infinity();
    }
    return scores;
  };
  for (const int64_t query : example_numbers(texts.count())) {
    if (!texts.has(query) || !images.has(sample_of(query))) continue;  // there is no right answer
    const std::vector<float> scores = scores_of(texts, query, images);
    GalleryPanel::Query shown{
        .group = set + ", text to image", .picture = {}, .text = caption(query), .truth = {}, .hits = {}};
    for (const int64_t hit : best(scores, kHits)) {
      if (!images.has(hit)) continue;
      shown.hits.push_back({.picture = picture_of(dataset, hit, first_caption(hit)),
                            .text = {},
                            .score = scores[static_cast<std::size_t>(hit)],
                            .correct = hit == sample_of(query)});
    }
    gallery.queries.push_back(std::move(shown));
  }
  for (const int64_t query : example_numbers(images.count())) {
    if (!images.has(query) || first_caption(query).empty()) continue;
    const std::vector<float> scores = scores_of(images, query, texts);
    GalleryPanel::Query shown{.group = set + ", image to text",
                              .picture = picture_of(dataset, query, first_caption(query)),
                              .text = {},
                              .truth = first_caption(query),
                              .hits = {}};
    for (const int64_t hit : best(scores, kHits)) {
      if (!texts.has(hit)) continue;
      shown.hits.push_back({.picture = {},
                            .text = caption(hit),
                            .score = scores[static_cast<std::size_t>(hit)],
                            .correct = sample_of(hit) == query});
    }
    gallery.queries.push_back(std::move(shown));
  }
}

}  // namespace

EvaluationResults alignment_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources, const ZeroShotOptions& options) {
  EvaluationInputs pairs = inputs;
  pairs.sets = sets_with_pairs(inputs.sets);
  EvaluationResults results;
  if (!pairs.sets.empty()) results = retrieval_results(inference, pairs, sources);
  if (!options.is_asked()) return results;
  append_results(results, zero_shot_results(inference, inputs, sources, options));
  return results;
}

EvaluationResults retrieval_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources) {
  EvaluationResults results;
  TablePanel table{.title = "Retrieval",
                   .caption =
                       "The share of queries with a right answer among the first k of all candidates: any of a "
                       "picture's captions, a caption's picture.",
                   .subject_head = "Set and direction",
                   .columns = {"Recall@1", "Recall@5", "Recall@10"},
                   .subjects = {}};
  GalleryPanel gallery{.title = "Examples", .queries = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const Embeddings images = embed(inference, dataset, sources, EvaluationItems::kSamples, "image_embedding");
    const Embeddings texts = embed(inference, dataset, sources, EvaluationItems::kCaptions, "text_embedding");
    const std::vector<int64_t> sample_of_text = samples_of_captions(*dataset);
    const Retrieval found =
        measure_retrieval(inference.device(), inference.mesh().world(), images, texts, sample_of_text);
    if (!inference.is_first()) continue;
    add_direction(results, table, inputs, *dataset, path, "image to text", found.num_images, found.image_to_text,
                  found.image_to_text_chance);
    add_direction(results, table, inputs, *dataset, path, "text to image", found.num_texts, found.text_to_image,
                  found.text_to_image_chance);
    add_examples(gallery, set_name(path), *dataset, inference.device(), images, texts, sample_of_text);
  }
  results.panels = {std::move(table), std::move(gallery)};
  return results;
}

}  // namespace triptych::tasks
