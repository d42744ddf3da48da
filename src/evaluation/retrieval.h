#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "device/device.h"
#include "evaluation/inference.h"
#include "evaluation/retrieval_metrics.h"

namespace triptych::evaluation {

/// Embeddings of items of a data set, row-major [n, width]; of an item that has none a row of zeros.
struct Embeddings {
  int64_t width = 0;
  std::vector<float> rows;
  std::vector<bool> present;  ///< [n] which items have one; empty: all
  bool has(int64_t item) const { return present.empty() || present[static_cast<std::size_t>(item)]; }
  int64_t count() const { return width == 0 ? 0 : static_cast<int64_t>(rows.size()) / width; }
};

/// One modality of a data set alone, through the blocks that `slot` needs: every sample's image, or every caption of
/// every sample. Collective.
Embeddings embed(Inference& inference, std::shared_ptr<const Dataset> dataset, std::span<const FieldSource> sources,
                 EvaluationItems items, const std::string& slot);

/// Which sample each caption of a data set belongs to, in the order of EvaluationItems::kCaptions.
std::vector<int64_t> samples_of_captions(const Dataset& dataset);

/// scores[i * candidates.count() + j]: queries [first, first + count) against all candidates.
std::vector<float> similarities(Device& device, const Embeddings& queries, int64_t first, int64_t count,
                                const Embeddings& candidates);

/// A picture finds any of its captions, and each caption its picture. What has no embedding is neither asked nor among
/// the candidates.
struct Retrieval {
  RecallAtK image_to_text, text_to_image;
  RecallAtK image_to_text_chance, text_to_image_chance;
  int64_t num_images = 0, num_texts = 0;  ///< queries
};
/// Every rank has all embeddings, and computes its share of the scores on its device. Cost: 2 images * texts * width
/// FLOPs over all ranks. Memory: what RecallCounters take, and one block of scores: they never exist at once.
/// Collective; every rank gets the same.
Retrieval measure_retrieval(Device& device, Group& group, const Embeddings& images, const Embeddings& texts,
                            const std::vector<int64_t>& sample_of_text);

/// The best `k` of some scores, best first; of equal ones the lower number first.
std::vector<int64_t> best(std::span<const float> scores, int64_t k);

}  // namespace triptych::evaluation
