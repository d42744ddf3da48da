#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "tasks/task.h"

// Pictures and texts as vectors of one space, and looking for the nearest. Everything here is for tasks that have a
// SharedSpace.

namespace triptych::tasks {

/// The embedding of a text, [width], of length 1. Collective; every rank gets it. Throws UserError if it is not UTF-8.
std::vector<float> embed_text(Inference& inference, const SharedSpace& space, const Tokenizer& tokenizer,
                              const std::string& text);

/// The same of an encoded picture, as evaluation sees it. Throws UserError with its `name` if it cannot be read.
std::vector<float> embed_picture(Inference& inference, const SharedSpace& space, std::span<const std::byte> encoded,
                                 const std::string& name);

/// What is embedded of an item of a data set.
struct EmbeddedItem {
  uint64_t sample = 0;  ///< its number in the data set
  uint32_t text = 0;    ///< which of the sample's captions; 0 of a picture
};

/// The embeddings of a data set's pictures, or of all its captions, a batch at a time, in order: `consume` gets the
/// items of the batch that have one and their rows [items, width], on every rank. What cannot be read or is not there
/// is left out. Memory: a batch. Collective.
void embed_set(Inference& inference, const Task& task, std::shared_ptr<const Tokenizer> tokenizer,
               const std::shared_ptr<const Dataset>& dataset, EvaluationItems items,
               const std::function<void(std::span<const EmbeddedItem>, std::span<const float>)>& consume);

/// A candidate, and how near it is: the product of the embeddings.
struct SearchHit {
  int64_t number = 0;  ///< in the order in which candidates were added
  float score = 0;
};

/// The candidates that are nearest to a vector, of any number that go by. Of equal scores the earlier one comes first.
class NearestHits {
 public:
  /// `query` [width].
  NearestHits(std::vector<float> query, int64_t top) : query_(std::move(query)), top_(top) {}

  /// The next candidates, [count, width]. One whose score is not a number is never near.
  void add(std::span<const float> rows);
  /// Best first.
  std::vector<SearchHit> take();
  int64_t num_candidates() const { return num_candidates_; }

 private:
  std::vector<float> query_;
  int64_t top_;
  int64_t num_candidates_ = 0;
  std::vector<SearchHit> hits_;  // a heap, the worst first
};

}  // namespace triptych::tasks
