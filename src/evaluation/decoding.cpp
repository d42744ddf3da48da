#include "evaluation/decoding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/decoding.h"

namespace triptych::evaluation {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// log softmax of each row over what may be written, in place.
void normalize(std::vector<float>& rows, int64_t vocabulary, const DecodingOptions& options) {
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
  std::vector<float>& next(std::span<const int32_t> tokens) {
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

std::vector<DecodedSequence> decode(Inference& inference, const Fields& fields,
                                    std::span<const std::vector<int32_t>> prompts, int32_t end_token,
                                    const DecodingOptions& options) {
  const int64_t samples = fields.num_samples(), beams = options.nucleus ? 1 : options.num_beams;
  TRIPTYCH_CHECK(static_cast<int64_t>(prompts.size()) == samples, "{} prompts for {} samples", prompts.size(), samples);
  // What all prompts are long is read before the search; what is left of a longer one, its rows have no choice of.
  std::size_t common = static_cast<std::size_t>(options.length);
  for (const std::vector<int32_t>& prompt : prompts) common = std::min(common, prompt.size());
  TRIPTYCH_CHECK(common > 0, "a text begins with a token");
  std::vector<int64_t> num_given;
  for (const std::vector<int32_t>& prompt : prompts) {
    TRIPTYCH_CHECK(static_cast<int64_t>(prompt.size()) < options.length, "a prompt of {} tokens for a text of {}",
                   prompt.size(), options.length);
    num_given.push_back(static_cast<int64_t>(prompt.size() - common));
  }
  Writer writer(inference, fields, options);
  const auto read = [&](std::size_t position) -> std::vector<float>& {
    std::vector<int32_t> column;
    for (const std::vector<int32_t>& prompt : prompts) column.push_back(prompt[position]);
    return writer.next(column);
  };
  for (std::size_t position = 0; position + 1 < common; ++position) read(position);

  std::size_t position = common;  // of the token that the scores are of
  const auto give = [&](std::vector<float>& scores) {
    const std::size_t per_sample = scores.size() / prompts.size();
    const std::size_t width = per_sample / static_cast<std::size_t>(beams);
    for (std::size_t s = 0; s < prompts.size(); ++s) {
      if (position >= prompts[s].size()) continue;
      const std::span<float> rows = std::span(scores).subspan(s * per_sample, per_sample);
      std::fill(rows.begin(), rows.end(), kNever);
      for (std::size_t row = 0; row < per_sample; row += width) {
        rows[row + static_cast<std::size_t>(prompts[s][position])] = 0;
      }
    }
    ++position;
    return std::span<const float>(scores);
  };
  // Until its first tokens differ, a sample's beams are one row.
  bool is_first = true, is_expanded = false;
  std::vector<float> repeated;
  const auto step = [&](std::span<const int64_t> parents, std::span<const int32_t> tokens) -> std::span<const float> {
    if (is_first) {
      is_first = false;
      const std::vector<float>& scores = read(common - 1);
      const auto width = static_cast<std::ptrdiff_t>(scores.size()) / samples;
      repeated.clear();
      for (int64_t s = 0; s < samples; ++s) {
        for (int64_t b = 0; b < beams; ++b) {
          repeated.insert(repeated.end(), scores.begin() + s * width, scores.begin() + (s + 1) * width);
        }
      }
      return give(repeated);
    }
    std::vector<int32_t> rows;
    for (const int64_t parent : parents) rows.push_back(static_cast<int32_t>(is_expanded ? parent : parent / beams));
    is_expanded = true;
    writer.reorder(rows);
    return give(writer.next(tokens));
  };
  const int64_t max_length = options.length - static_cast<int64_t>(common);
  if (options.nucleus) {
    const SamplingOptions sampling{.nucleus = *options.nucleus,
                                   .max_length = max_length,
                                   .begin_token = prompts[0].back(),
                                   .end_token = end_token,
                                   .seed = options.seed,
                                   .first_item = options.first_item};
    return sample_sequences(step, samples, sampling, num_given);
  }
  const BeamSearchOptions search{.num_beams = beams,
                                 .max_length = max_length,
                                 .begin_token = prompts[0].back(),
                                 .end_token = end_token,
                                 .alpha = options.alpha};
  return beam_search(step, samples, search, num_given);
}

std::vector<DecodedSequence> decode(Inference& inference, const Fields& fields, std::span<const int32_t> prompt,
                                    int32_t end_token, const DecodingOptions& options) {
  const std::vector<std::vector<int32_t>> prompts(static_cast<std::size_t>(fields.num_samples()),
                                                  std::vector<int32_t>(prompt.begin(), prompt.end()));
  return decode(inference, fields, prompts, end_token, options);
}

}  // namespace triptych::evaluation
