#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "training/session.h"

namespace triptych {

/// A trained model on one rank, for evaluation and search.
class Embedder {
 public:
  /// Reads the model of `config` from a checkpoint of any mesh. Throws UserError if it is of another model.
  Embedder(const RunConfig& config, const std::string& checkpoint);

  std::filesystem::path checkpoint() const { return folder_; }
  int64_t width() const { return config_.model.embedding; }
  /// Row-major [n, width()] embeddings of unit length of a data set's images and first captions, in its order; a row
  /// whose sample lacks the part, or cannot be read, is zero.
  struct Embeddings {
    std::vector<float> images, texts;
  };
  Embeddings embed(std::shared_ptr<const Dataset> dataset);
  /// [texts, width()].
  std::vector<float> embed_texts(const std::vector<std::string>& texts);
  Device& device() { return session_->device(); }
  int64_t num_parameters() { return session_->num_parameters(); }

 private:
  RunConfig config_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::filesystem::path folder_;
};

/// scores[queries, candidates] = queries [Q, E] times candidates [N, E] transposed.
std::vector<float> similarities(Device& device, const std::vector<float>& queries, const std::vector<float>& candidates,
                                int64_t width);

/// The best `k` candidates of one row of scores, best first.
std::vector<int64_t> best(const float* scores, int64_t count, int64_t stride, int64_t k);

/// First captions of a data set, "" where there is none.
std::vector<std::string> first_captions(const Dataset& dataset);

}  // namespace triptych
