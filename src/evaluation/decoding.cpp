#include "evaluation/decoding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/decoding.h"

namespace triptych::evaluation {
namespace {

// log softmax of each row over what may be written, in place.
void normalize(std::vector<float>& rows, int64_t vocabulary, const DecodingOptions& options) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (std::size_t begin = 0; begin < rows.size(); begin += static_cast<std::size_t>(vocabulary)) {
    const std::span<float> row = std::span(rows).subspan(begin, static_cast<std::size_t>(vocabulary));
    std::fill(row.begin() + std::min(options.num_tokens, vocabulary), row.end(), kNever);
    for (const int32_t token : options.never) row[static_cast<std::size_t>(token)] = kNever;
    const float largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x - largest));
    const auto log_sum = static_cast<float>(std::log(sum));
    for (float& x : row) x = std::min(0.0f, x - largest - log_sum);
  }
}

// Feeds tokens to the model and reads what may come next.
class Writer {
 public:
  Writer(Inference& inference, const Fields& fields, const DecodingOptions& options)
      : inference_(inference), fields_(fields), options_(options), cache_(options.length) {}

  // The log-probabilities of the token after `tokens`, one a row.
  const std::vector<float>& next(std::span<const int32_t> tokens) {
    const auto rows = static_cast<int64_t>(tokens.size());
    Fields data = cache_.position() == 0 ? fields_ : Fields(rows);
    data.set("tokens", Tensor::from<int32_t>(inference_.device(), Shape{rows, 1}, tokens));
    const Values values = inference_.executor().decode(data, options_.logits, options_.memory, cache_);
    scores_ = inference_.to_all_hosts(values.empty() ? Variable() : value_of(values, options_.logits));
    scores_.resize(scores_.size() / static_cast<std::size_t>(inference_.mesh().size(Axis::kDp)));
    normalize(scores_, static_cast<int64_t>(scores_.size()) / rows, options_);
    cache_.advance();
    return scores_;
  }
  void reorder(std::span<const int32_t> rows) { cache_.reorder(inference_.device(), rows); }

 private:
  Inference& inference_;
  Fields fields_;
  DecodingOptions options_;
  DecodingCache cache_;
  std::vector<float> scores_;
};

}  // namespace

std::vector<DecodedSequence> decode(Inference& inference, const Fields& fields, std::span<const int32_t> prompt,
                                    int32_t end_token, const DecodingOptions& options) {
  TRIPTYCH_CHECK(!prompt.empty(), "a text begins with a token");
  const int64_t samples = fields.num_samples();
  Writer writer(inference, fields, options);
  for (const int32_t token : prompt.first(prompt.size() - 1)) {
    writer.next(std::vector<int32_t>(static_cast<std::size_t>(samples), token));
  }
  // Until its first tokens differ, a sample's beams are one row.
  bool is_first = true, is_expanded = false;
  std::vector<float> repeated;
  const auto step = [&](std::span<const int64_t> parents, std::span<const int32_t> tokens) -> std::span<const float> {
    const int64_t beams = options.num_beams;
    if (is_first) {
      is_first = false;
      const std::vector<float>& scores =
          writer.next(std::vector<int32_t>(static_cast<std::size_t>(samples), prompt.back()));
      const auto width = static_cast<std::ptrdiff_t>(scores.size()) / samples;
      repeated.clear();
      for (int64_t s = 0; s < samples; ++s) {
        for (int64_t b = 0; b < beams; ++b) {
          repeated.insert(repeated.end(), scores.begin() + s * width, scores.begin() + (s + 1) * width);
        }
      }
      return repeated;
    }
    std::vector<int32_t> rows;
    for (const int64_t parent : parents) rows.push_back(static_cast<int32_t>(is_expanded ? parent : parent / beams));
    is_expanded = true;
    writer.reorder(rows);
    return writer.next(tokens);
  };
  const BeamSearchOptions search{.num_beams = options.num_beams,
                                 .max_length = options.length - static_cast<int64_t>(prompt.size()),
                                 .begin_token = prompt.back(),
                                 .end_token = end_token,
                                 .alpha = options.alpha};
  return beam_search(step, samples, search);
}

}  // namespace triptych::evaluation
