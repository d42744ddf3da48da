#include "tasks/search.h"

#include <algorithm>
#include <cmath>

#include "data/pixel_reader.h"
#include "evaluation/inference.h"
#include "tasks/text_rows.h"

namespace triptych::tasks {
namespace {

const std::string kImageSlot = "image_embedding", kTextSlot = "text_embedding";

bool is_before(const SearchHit& a, const SearchHit& b) {
  return a.score != b.score ? a.score > b.score : a.number < b.number;
}

}  // namespace

std::vector<float> embed_text(Inference& inference, const SharedSpace& space, const Tokenizer& tokenizer,
                              const std::string& text) {
  return inference.infer(text_rows(inference.device(), tokenizer, std::span(&text, 1), space.text_length), kTextSlot);
}

std::vector<float> embed_picture(Inference& inference, const SharedSpace& space, std::span<const std::byte> encoded,
                                 const std::string& name) {
  std::vector<uint8_t> pixels;
  try {
    pixels = read_for_evaluation(encoded, static_cast<uint32_t>(space.image_size), space.picture);
  } catch (const WorldError& error) {
    throw UserError(
        name, fmt::format("must be a picture, it cannot be read: {}. Name a JPEG, PNG or WebP file", error.what()));
  }
  const uint8_t present = 1;
  Fields fields(1);
  fields.set("pixels", Tensor::from<uint8_t>(inference.device(), Shape{1, space.image_size, space.image_size, 3},
                                             std::span<const uint8_t>(pixels)));
  fields.set("image_present", Tensor::from<uint8_t>(inference.device(), Shape{1}, std::span(&present, 1)));
  return inference.infer(fields, kImageSlot);
}

void embed_set(Inference& inference, const Task& task, std::shared_ptr<const Tokenizer> tokenizer,
               const std::shared_ptr<const Dataset>& dataset, EvaluationItems items,
               const std::function<void(std::span<const EmbeddedItem>, std::span<const float>)>& consume) {
  const bool of_texts = items == EvaluationItems::kCaptions;
  const std::string& slot = of_texts ? kTextSlot : kImageSlot;
  const std::vector<FieldSource> sources = task.shared_space_fields(std::move(tokenizer));
  EmbeddedItem next;  // the item that comes
  inference.run(dataset, sources, items, std::span(&slot, 1), [&](const InferredRows& rows) {
    const std::vector<float>& values = rows.outputs.at(slot);
    const std::size_t width = values.size() / static_cast<std::size_t>(rows.num_items);
    std::vector<EmbeddedItem> present;
    std::vector<float> embeddings;
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows.num_items); ++i) {
      while (of_texts && next.text == dataset->record(next.sample).num_texts(TextRole::kCaption)) {
        next = {.sample = next.sample + 1, .text = 0};
      }
      if (of_texts ? rows.text_present[i] : rows.image_present[i]) {
        present.push_back(next);
        const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * width);
        embeddings.insert(embeddings.end(), row, row + static_cast<std::ptrdiff_t>(width));
      }
      of_texts ? static_cast<void>(++next.text) : static_cast<void>(++next.sample);
    }
    if (!present.empty()) consume(present, embeddings);
  });
}

void NearestHits::add(std::span<const float> rows) {
  TRIPTYCH_CHECK(rows.size() % query_.size() == 0, "{} numbers in rows of {}", rows.size(), query_.size());
  for (std::size_t begin = 0; begin < rows.size(); begin += query_.size()) {
    double score = 0;
    for (std::size_t d = 0; d < query_.size(); ++d) score += double{query_[d]} * double{rows[begin + d]};
    const SearchHit hit{.number = num_candidates_++, .score = static_cast<float>(score)};
    if (std::isnan(hit.score)) continue;
    const bool has_room = static_cast<int64_t>(hits_.size()) < top_;
    if (!has_room && !is_before(hit, hits_.front())) continue;
    if (!has_room) {
      std::pop_heap(hits_.begin(), hits_.end(), is_before);
      hits_.pop_back();
    }
    hits_.push_back(hit);
    std::push_heap(hits_.begin(), hits_.end(), is_before);
  }
}

std::vector<SearchHit> NearestHits::take() {
  std::sort_heap(hits_.begin(), hits_.end(), is_before);
  return std::move(hits_);
}

}  // namespace triptych::tasks
