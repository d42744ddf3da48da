#include "evaluation/retrieval.h"

#include <algorithm>
#include <numeric>

#include "kernels/matmul.h"
#include "tensor/tensor.h"

namespace triptych::evaluation {
namespace {

constexpr int64_t kBlockImages = 256, kBlockTexts = 8192;  // 8 MiB of scores

Tensor upload(Device& device, const Embeddings& all, int64_t first, int64_t count) {
  const std::span<const float> rows = std::span(all.rows).subspan(static_cast<std::size_t>(first * all.width),
                                                                  static_cast<std::size_t>(count * all.width));
  return Tensor::from<float>(device, Shape{count, all.width}, rows);
}

// Of every row of `a` with every row of `b`, [rows of a, rows of b].
std::vector<float> products(Device& device, const Tensor& a, const Tensor& b) {
  const int64_t m = a.size(0), n = b.size(0);
  const Tensor scores = Tensor::empty(device, DType::kFloat32, Shape{m, n});
  matmul(device.stream(),
         {.m = m, .n = n, .k = a.size(1), .a = a.raw(), .b = b.raw(), .transpose_b = true, .c = scores.raw()});
  return scores.to_vector<float>();
}

/// Those that are present, and only their groups of `groups`.
Embeddings present_rows(const Embeddings& all, std::vector<int64_t>& groups) {
  Embeddings result{.width = all.width, .rows = {}, .present = {}};
  std::vector<int64_t> left;
  for (int64_t i = 0; i < all.count(); ++i) {
    if (!all.has(i)) continue;
    const auto row = all.rows.begin() + i * all.width;
    result.rows.insert(result.rows.end(), row, row + all.width);
    left.push_back(groups[static_cast<std::size_t>(i)]);
  }
  groups = std::move(left);
  return result;
}

}  // namespace

Embeddings embed(Inference& inference, std::shared_ptr<const Dataset> dataset, std::span<const FieldSource> sources,
                 EvaluationItems items, const std::string& slot) {
  Embeddings result;
  const bool of_text = items == EvaluationItems::kCaptions;
  inference.run(dataset, sources, items, std::span(&slot, 1), [&](const InferredRows& rows) {
    const std::vector<float>& values = rows.outputs.at(slot);
    result.width = static_cast<int64_t>(values.size()) / rows.num_items;
    result.rows.insert(result.rows.end(), values.begin(), values.end());
    for (int64_t i = 0; i < rows.num_items; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool is_present = of_text ? rows.text_present[at] : rows.image_present[at];
      result.present.push_back(is_present);
      if (is_present) continue;
      const int64_t row = static_cast<int64_t>(rows.first_item) + i;
      std::fill_n(result.rows.begin() + row * result.width, result.width, 0.0f);
    }
  });
  return result;
}

std::vector<int64_t> samples_of_captions(const Dataset& dataset) {
  std::vector<int64_t> samples;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    samples.insert(samples.end(), dataset.record(i).num_texts(TextRole::kCaption), static_cast<int64_t>(i));
  }
  return samples;
}

std::vector<float> similarities(Device& device, const Embeddings& queries, int64_t first, int64_t count,
                                const Embeddings& candidates) {
  const Tensor a = upload(device, queries, first, count), b = upload(device, candidates, 0, candidates.count());
  return products(device, a, b);
}

Retrieval measure_retrieval(Device& device, Group& group, const Embeddings& all_images, const Embeddings& all_texts,
                            const std::vector<int64_t>& sample_of_text) {
  std::vector<int64_t> samples(static_cast<std::size_t>(all_images.count())), text_samples = sample_of_text;
  std::iota(samples.begin(), samples.end(), 0);
  const Embeddings images = present_rows(all_images, samples), texts = present_rows(all_texts, text_samples);
  RecallCounter to_text(samples, text_samples), to_image(text_samples, samples);
  for (int64_t first_text = 0; first_text < texts.count(); first_text += kBlockTexts) {
    const int64_t num_texts = std::min(kBlockTexts, texts.count() - first_text);
    const Tensor of_texts = upload(device, texts, first_text, num_texts);
    for (int64_t first = group.rank() * kBlockImages; first < images.count(); first += group.size() * kBlockImages) {
      const int64_t count = std::min(kBlockImages, images.count() - first);
      const std::vector<float> scores = products(device, upload(device, images, first, count), of_texts);
      to_text.add({.scores = scores.data(),
                   .first_query = first,
                   .num_queries = count,
                   .first_candidate = first_text,
                   .num_candidates = num_texts,
                   .query_stride = num_texts});
      to_image.add({.scores = scores.data(),
                    .first_query = first_text,
                    .num_queries = num_texts,
                    .first_candidate = first,
                    .num_candidates = count,
                    .query_stride = 1,
                    .candidate_stride = num_texts});
    }
  }
  to_text.combine(group);
  to_image.combine(group);
  return {.image_to_text = to_text.recall(),
          .text_to_image = to_image.recall(),
          .image_to_text_chance = to_text.chance(),
          .text_to_image_chance = to_image.chance(),
          .num_images = to_text.num_queries(),
          .num_texts = to_image.num_queries()};
}

std::vector<int64_t> best(std::span<const float> scores, int64_t k) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  k = std::min(k, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
    const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  order.resize(static_cast<std::size_t>(k));
  return order;
}

}  // namespace triptych::evaluation
