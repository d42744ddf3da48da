#include "tasks/sample_explainer.h"

#include <algorithm>

#include "tasks/explanation_page.h"

namespace triptych::tasks {
namespace {

constexpr uint32_t kPixels = 96;
constexpr std::size_t kShownWords = 12;

// What the first rank has, on all. Collective.
template <typename Values>
void share(Values& values, Group& world) {
  auto size = static_cast<int64_t>(values.size());
  world.broadcast(&size, 1, DType::kInt64, 0)->wait();
  values.resize(static_cast<std::size_t>(size));
  world.broadcast(values.data(), size, DType::kUInt8, 0)->wait();
}

std::vector<std::byte> image_of(const Dataset& dataset, int64_t sample) {
  try {
    SampleBuffer buffer;
    dataset.read(static_cast<uint64_t>(sample), buffer, SampleParts::kImage);
    return {buffer.image.begin(), buffer.image.end()};
  } catch (const WorldError&) {  // it could be read when the model was measured on it
    return {};
  }
}

}  // namespace

std::optional<Explanation> SampleExplainer::explain(const Dataset& dataset, int64_t sample, std::string text) const {
  Group& world = inference_->mesh().world();
  ExplainInputs inputs{.name = dataset.sample_name(static_cast<uint64_t>(sample)),
                       .image = inference_->is_first() ? image_of(dataset, sample) : std::vector<std::byte>(),
                       .text = std::move(text),
                       .class_number = {},
                       .class_names = {},
                       .tokenizer = inputs_->tokenizer};
  if (world.size() > 1) {
    share(inputs.image, world);
    share(inputs.text, world);
  }
  if (inputs.image.empty()) return std::nullopt;
  return task_->explain(*inference_, inputs);
}

std::vector<ReportPicture> relevance_picture(const Explanation& explanation, const std::string& said) {
  const auto found = std::find_if(explanation.maps.begin(), explanation.maps.end(),
                                  [](const PatchMap& map) { return map.name == "relevance"; });
  if (found == explanation.maps.end()) return {};
  PatchMap map = *found;
  map.name = said;
  return {heat_picture(explanation, map, kPixels)};
}

std::vector<ReportPicture> word_pictures(const Explanation& explanation) {
  std::vector<ReportPicture> pictures;
  for (const PatchMap& word : explanation.words) {
    if (pictures.size() == kShownWords) break;
    pictures.push_back(heat_picture(explanation, word, kPixels));
  }
  return pictures;
}

}  // namespace triptych::tasks
