#include "models/masked_image.h"

#include <algorithm>

#include "data/field_sources.h"
#include "data/png_writer.h"
#include "evaluation/inference.h"
#include "evaluation/reconstruction.h"
#include "objectives/masked_patches.h"
#include "tasks/model_config.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

const std::string kReconstruction = "reconstruction", kPixels = "pixels", kMaskedPatches = "masked_patches";

/// Pretraining of an image encoder without labels: He et al. 2022, masked autoencoders.
class MaskedImageTask : public Task {
 public:
  MaskedImageTask(ConfigReader& reader, const MeshShape& mesh) {
    read_dropout(reader, model_.image.dropout);
    read_image_encoder(reader, model_.image, true, mesh);
    read_sizes(reader, "model.decoder", model_.decoder, true, mesh);
    double share = 0.25;
    reader
        .read("objective.visible_share", share,
              "Share of an image's patches that the encoder sees, rounded down to whole patches; the others are to be "
              "reconstructed.")
        .positive()
        .below(1);
    reader.read("objective.normalize_patches", normalize_,
                "Compare each patch relative to its own mean and deviation, instead of its pixels.");
    read_augmentation(reader, augment_);
    if (model_.image.sizes.positions == PositionKind::kRotary) {
      reader.problem("model.image.positions",
                     "must not be rotary where an encoder sees patches of a sample's own choice",
                     "Use learned or sinusoidal");
    }
    if (model_.image.pooling == ImageEncoderConfig::Pooling::kAttention) {
      reader.problem("model.image.pooling", "must not be attention where nothing reads the whole image", "Use mean");
    }
    const int64_t num_patches = model_.image.embedding().num_patches();
    const auto visible = static_cast<int64_t>(share * static_cast<double>(num_patches));
    if (num_patches < 2 || visible < 1) {
      reader.problem(
          "objective.visible_share",
          fmt::format("must leave at least one patch to be seen and one to be reconstructed: {} of {} patches", visible,
                      num_patches),
          "Raise it, or make model.image.patch smaller");
      return;
    }
    model_.image.visible = visible;
  }

  ModelSpec model() const override { return masked_image(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    return {masked_patches_objective({.patch = model_.image.patch,
                                      .scale = model_.image.scale,
                                      .normalize = normalize_,
                                      .needs = {"image_present"}})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer>) const override {
    return {pixels_field(model_.image.size, augment_),
            patch_mask_fields(model_.image.embedding().num_patches(), model_.image.visible), presence_fields()};
  }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, {.images = true}, "masked patches"); }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;

 private:
  PatchLayout layout() const {
    return {
        .size = model_.image.size, .patch = model_.image.patch, .normalize = normalize_, .scale = model_.image.scale};
  }
  void add_example(GalleryPanel& gallery, const std::string& set, const InferredRows& rows, int64_t item,
                   double error) const;

  MaskedImageConfig model_;
  bool normalize_ = true;
  AugmentOptions augment_;
};

std::span<const float> row_of(const std::vector<float>& all, int64_t item, int64_t num_items) {
  const std::size_t size = all.size() / static_cast<std::size_t>(num_items);
  return std::span(all).subspan(static_cast<std::size_t>(item) * size, size);
}

// The picture, what of it was seen, and what was made of that.
void MaskedImageTask::add_example(GalleryPanel& gallery, const std::string& set, const InferredRows& rows, int64_t item,
                                  double error) const {
  const auto side = static_cast<uint32_t>(model_.image.size);
  const auto picture = [side](std::span<const uint8_t> pixels, const char* description) {
    return ReportPicture{encode_png(side, side, pixels), description};
  };
  const std::span<const uint8_t> pixels = rows.field_row<uint8_t>(kPixels, item);
  const std::span<const int32_t> masked = rows.field_row<int32_t>(kMaskedPatches, item);
  const std::vector<uint8_t> painted =
      paint_patches(layout(), pixels, row_of(rows.outputs.at(kReconstruction), item, rows.num_items), masked);
  GalleryPanel::Query& query = gallery.queries.emplace_back();
  query.group = set;
  query.picture = picture(pixels, "the picture");
  query.hits.push_back(
      {.picture = picture(hide_patches(layout(), pixels, masked), "its visible patches"), .text = "seen"});
  query.hits.push_back({.picture = picture(painted, "the reconstruction"), .text = "reconstructed", .score = error});
}

EvaluationResults MaskedImageTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table{.title = "Reconstruction",
                   .caption = std::string("The mean squared error of the masked patches' pixels") +
                              (normalize_ ? ", each patch relative to its own mean and deviation." : "."),
                   .subject_head = "Set",
                   .columns = {"Error"},
                   .subjects = {}};
  GalleryPanel gallery{.title = "Reconstructions", .queries = {}};
  const std::vector<FieldSource> sources = fields(nullptr);
  const std::vector<std::string> wanted{kPixels, kMaskedPatches};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->size()));
    ReconstructionCounter counter(layout());
    inference.run(
        dataset, sources, EvaluationItems::kSamples, std::span(&kReconstruction, 1),
        [&](const InferredRows& rows) {
          for (int64_t i = 0; i < rows.num_items; ++i) {
            if (!rows.image_present[static_cast<std::size_t>(i)]) continue;
            const double error = counter.add(rows.field_row<uint8_t>(kPixels, i),
                                             row_of(rows.outputs.at(kReconstruction), i, rows.num_items),
                                             rows.field_row<int32_t>(kMaskedPatches, i));
            const auto sample = static_cast<int64_t>(rows.first_item) + i;
            if (inference.is_first() && std::find(shown.begin(), shown.end(), sample) != shown.end()) {
              add_example(gallery, set, rows, i, error);
            }
          }
        },
        wanted);
    const auto row = [](const std::string& source, double error) {
      return TablePanel::Row{source, {{.number = error, .text = {}}}};
    };
    std::vector<TablePanel::Row> rows{row("model", counter.error())};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"reconstruction error"}, false)) {
      rows.push_back(std::move(other));
    }
    rows.push_back(row("each patch's mean", counter.error_of_means()));
    rows.push_back(row("each patch's mean colour", counter.error_of_colors()));
    table.subjects.push_back(
        {.name = set, .notes = {fmt::format("{} masked patches", counter.num_patches())}, .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": reconstruction error", counter.error());
  }
  results.panels = {std::move(table), std::move(gallery)};
  return results;
}

}  // namespace

std::unique_ptr<Task> read_masked_image_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<MaskedImageTask>(reader, mesh);
}

}  // namespace triptych::tasks
