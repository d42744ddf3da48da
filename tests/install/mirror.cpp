// A task that Triptych knows nothing of: whether a picture was mirrored. Needs no labels.

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/philox.h"
#include "data/field_sources.h"
#include "evaluation/classification_metrics.h"
#include "evaluation/inference.h"
#include "launcher/program.h"
#include "models/image_encoder.h"
#include "objectives/cross_entropy.h"
#include "tasks/model_config.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace mirror {
namespace {

using namespace triptych::tasks;

constexpr const char* kScores = "mirror_scores";
constexpr const char* kField = "mirrored";

bool is_mirrored(uint64_t seed, uint64_t position) {
  return philox4x32(random_key(seed, "mirror", 0), position)[0] % 2 == 1;
}

// "pixels" as pixels_field fills them, mirrored or not; "mirrored" int32 []: -1 without a picture.
class MirrorFiller : public RowFiller {
 public:
  MirrorFiller(std::unique_ptr<RowFiller> pixels, int64_t size) : pixels_(std::move(pixels)), size_(size) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    pixels_->fill(sample, rows.first(1));
    const bool mirrored = is_mirrored(sample.training ? sample.seed : 0, sample.position);
    values_of<int32_t>(rows[1])[0] = sample.has_image ? static_cast<int32_t>(mirrored) : -1;
    if (!sample.has_image || !mirrored) return;
    const auto pixels = values_of<uint8_t>(rows[0]);
    for (int64_t y = 0; y < size_; ++y) {
      for (int64_t x = 0; x < size_ / 2; ++x) {
        const auto left = pixels.begin() + 3 * (y * size_ + x),
                   right = pixels.begin() + 3 * (y * size_ + size_ - 1 - x);
        std::swap_ranges(left, left + 3, right);
      }
    }
  }
  void clear(FieldRows rows) override {
    pixels_->clear(rows.first(1));
    values_of<int32_t>(rows[1])[0] = -1;
  }

 private:
  std::unique_ptr<RowFiller> pixels_;
  int64_t size_;
};

class MirrorTask : public Task {
 public:
  MirrorTask(ConfigReader& reader, const MeshShape& mesh) { read_image_encoder(reader, encoder_, true, mesh); }

  ModelSpec model() const override {
    ModelSpec model;
    append_image_encoder(model.blocks, encoder_);
    const TransformerSizes sizes = encoder_.sizes;
    const double flops = ProjectionHead::forward_flops(sizes.width, 2);
    const auto forward = [pooling = encoder_.pooling](const ProjectionHead& head, std::span<const Variable> inputs,
                                                      const Fields&, const Pass& pass) {
      return head.forward(pool_image(inputs[0], pooling, pass), pass);
    };
    model.blocks.push_back({.name = "mirror.head",
                            .reads = {"image"},
                            .writes = {{.name = kScores, .dims = {2}, .place = "batch", .dtype = DType::kFloat32}},
                            .forward_flops = flops,
                            .backward_flops = 2 * flops,
                            .make = [=](ParameterStore& store) {
                              return make_block(ProjectionHead(store, "mirror.head", sizes.width, 2, sizes.last_norm()),
                                                forward);
                            }});
    model.fingerprint = "mirror image(" + encoder_.to_string() + ")";
    return model;
  }

  std::vector<ObjectiveSpec> objectives() const override {
    return {cross_entropy_objective({.name = "mirror", .slot = kScores, .field = kField})};
  }

  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer>) const override {
    const FieldSource pixels = pixels_field(encoder_.size);
    FieldSource source = pixels;
    source.fields.push_back({.name = kField, .dtype = DType::kInt32});
    source.make = [pixels, size = encoder_.size] { return std::make_unique<MirrorFiller>(pixels.make(), size); };
    source.synthesize = [pixels](uint64_t seed, int64_t global_row, FieldRows rows) {
      pixels.synthesize(seed, global_row, rows.first(1));
      values_of<int32_t>(rows[1])[0] = static_cast<int32_t>(is_mirrored(seed, static_cast<uint64_t>(global_row)));
    };
    return {source};
  }

  void check_data(const Dataset& dataset) const override { require_parts(dataset, {.images = true}, "mirror"); }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }

  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    EvaluationResults results;
    TablePanel table{.title = "Mirror", .caption = "", .subject_head = "Set", .columns = {"Accuracy"}, .subjects = {}};
    const std::string slot = kScores;
    for (const std::string& path : inputs.sets) {
      ClassificationCounter counter(2);
      inference.run(std::make_shared<const Dataset>(Dataset::open(path)), fields(nullptr), EvaluationItems::kSamples,
                    std::span(&slot, 1), [&](const InferredRows& rows) {
                      for (uint64_t i = 0; i < static_cast<uint64_t>(rows.num_items); ++i) {
                        if (!rows.image_present[i]) continue;
                        counter.add(std::span(rows.outputs.at(slot)).subspan(2 * i, 2),
                                    static_cast<int64_t>(is_mirrored(0, rows.first_item + i)));
                      }
                    });
      const double accuracy = counter.top_k_accuracy(1);
      table.subjects.push_back({.name = set_name(path), .rows = {{"model", {share_value(accuracy)}}}});
      results.metrics.emplace_back(set_name(path) + ": accuracy", accuracy);
    }
    results.panels = {std::move(table)};
    return results;
  }

 private:
  ImageEncoderConfig encoder_;
};

std::unique_ptr<Task> read_mirror_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<MirrorTask>(reader, mesh);
}

}  // namespace
}  // namespace mirror

int main(int argc, char** argv) {
  const auto standard = triptych::tasks::standard_tasks();
  std::vector<triptych::tasks::TaskKind> all(standard.begin(), standard.end());
  all.push_back({"mirror", "an image encoder that tells whether a picture was mirrored", mirror::read_mirror_task});
  return triptych::launcher::run_program(argc, argv, all);
}
