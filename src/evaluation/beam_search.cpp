#include "evaluation/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

// A softmax's float32 rounding; more would be no log-probability.
constexpr float kMaxLogProbability = 1e-4f;

struct Beam {
  std::vector<int32_t> tokens;
  double log_probability = 0;
};

struct Continuation {
  double log_probability;
  std::size_t beam;
  int32_t token;
};

// The search of one sample. Its live beams are in the first rows of its rows.
class SampleSearch {
 public:
  SampleSearch(const BeamSearchOptions& options, int64_t num_given)
      : options_(options), num_given_(num_given), live_(1), width_(static_cast<std::size_t>(options.num_beams)) {}

  bool is_done() const { return live_.empty(); }

  // `log_probabilities` of this sample's rows; then `parents` and `tokens` of its rows say what they go on from.
  void extend(std::span<const float> log_probabilities, std::size_t vocabulary, int64_t first_row,
              std::span<int64_t> parents, std::span<int32_t> tokens) {
    for (std::size_t row = 0; row < parents.size(); ++row) {
      parents[row] = first_row + static_cast<int64_t>(row);
      tokens[row] = options_.end_token;
    }
    if (is_done()) return;
    const std::vector<Continuation> continuations = best_continuations(log_probabilities, vocabulary);
    if (continuations.empty()) {  // nothing may follow
      for (const Beam& beam : live_) cut(beam);
    }
    std::vector<Beam> extended;
    for (const Continuation& best : continuations) {
      const Beam& parent = live_[best.beam];
      if (best.token == options_.end_token) {
        complete(parent, best.log_probability);
        --width_;
        continue;
      }
      parents[extended.size()] = first_row + static_cast<int64_t>(best.beam);
      tokens[extended.size()] = best.token;
      extended.push_back({parent.tokens, best.log_probability});
      extended.back().tokens.push_back(best.token);
    }
    live_ = std::move(extended);
    ++length_;
    if (length_ == options_.max_length) {
      for (const Beam& beam : live_) cut(beam);
      live_.clear();
    }
    if (result_.is_finished &&
        std::none_of(live_.begin(), live_.end(), [&](const Beam& beam) { return bound(beam) > result_.score; })) {
      live_.clear();
    }
  }

  DecodedSequence take_result() { return std::move(result_); }

 private:
  // The most probable ones, as many as the beam has places, best first.
  std::vector<Continuation> best_continuations(std::span<const float> log_probabilities, std::size_t vocabulary) const {
    const auto comes_first = [](const Continuation& a, const Continuation& b) {
      return a.log_probability > b.log_probability;
    };
    std::vector<Continuation> best;
    for (std::size_t beam = 0; beam < live_.size(); ++beam) {
      for (std::size_t token = 0; token < vocabulary; ++token) {
        const float step = log_probabilities[beam * vocabulary + token];
        TRIPTYCH_CHECK(step <= kMaxLogProbability, "the log-probability of token {} is {}", token, step);
        const Continuation each{live_[beam].log_probability + static_cast<double>(step), beam,
                                static_cast<int32_t>(token)};
        if (std::isinf(step) || (best.size() == width_ && !comes_first(each, best.back()))) continue;
        if (best.size() == width_) best.pop_back();
        // After its equals, which came earlier.
        best.insert(std::upper_bound(best.begin(), best.end(), each, comes_first), each);
      }
    }
    return best;
  }

  // `length` counts what was given too.
  double score(double log_probability, int64_t length) const {
    return log_probability / std::pow((5 + static_cast<double>(length - num_given_)) / 6, options_.alpha);
  }

  // No continuation of `beam` scores higher: its log-probability only falls, and most is forgiven to the longest.
  double bound(const Beam& beam) const { return score(beam.log_probability, options_.max_length); }

  void complete(const Beam& beam, double log_probability) {
    offer({written(beam), log_probability, score(log_probability, length_ + 1), true});
  }

  void cut(const Beam& beam) {
    if (!result_.is_finished) offer({written(beam), beam.log_probability, score(beam.log_probability, length_), false});
  }

  std::vector<int32_t> written(const Beam& beam) const {
    return {beam.tokens.begin() + std::min<std::ptrdiff_t>(num_given_, std::ssize(beam.tokens)), beam.tokens.end()};
  }

  void offer(DecodedSequence candidate) {
    if (candidate.score > result_.score) result_ = std::move(candidate);
  }

  const BeamSearchOptions& options_;
  int64_t num_given_;
  std::vector<Beam> live_;
  std::size_t width_;   // places in the beam: num_beams less the complete sequences
  int64_t length_ = 0;  // tokens of the live beams
  DecodedSequence result_{.score = -std::numeric_limits<double>::infinity()};
};

}  // namespace

std::vector<DecodedSequence> beam_search(const DecodingStep& step, int64_t num_samples,
                                         const BeamSearchOptions& options, std::span<const int64_t> num_given) {
  TRIPTYCH_CHECK(num_samples >= 0 && options.num_beams >= 1 && options.max_length >= 1 && options.alpha >= 0,
                 "{} samples, {} beams, max_length {}, alpha {}", num_samples, options.num_beams, options.max_length,
                 options.alpha);
  const auto num_beams = static_cast<std::size_t>(options.num_beams);
  const std::size_t num_rows = static_cast<std::size_t>(num_samples) * num_beams;
  TRIPTYCH_CHECK(num_given.empty() || static_cast<int64_t>(num_given.size()) == num_samples,
                 "{} numbers of given tokens for {} samples", num_given.size(), num_samples);
  std::vector<SampleSearch> searches;
  for (int64_t s = 0; s < num_samples; ++s) {
    const int64_t given = num_given.empty() ? 0 : num_given[static_cast<std::size_t>(s)];
    TRIPTYCH_CHECK(given >= 0 && given < options.max_length, "{} given tokens, max_length {}", given,
                   options.max_length);
    searches.emplace_back(options, given);
  }
  std::vector<int64_t> parents(num_rows);
  std::vector<int32_t> tokens(num_rows, options.begin_token);
  for (std::size_t row = 0; row < num_rows; ++row) parents[row] = static_cast<int64_t>(row);

  while (std::any_of(searches.begin(), searches.end(), [](const SampleSearch& search) { return !search.is_done(); })) {
    const std::span<const float> log_probabilities = step(parents, tokens);
    const std::size_t vocabulary = log_probabilities.size() / num_rows;
    TRIPTYCH_CHECK(vocabulary * num_rows == log_probabilities.size() && options.end_token >= 0 &&
                       static_cast<std::size_t>(options.end_token) < vocabulary,
                   "{} log-probabilities of {} rows, end token {}", log_probabilities.size(), num_rows,
                   options.end_token);
    for (std::size_t s = 0; s < searches.size(); ++s) {
      const std::size_t first = s * num_beams;
      searches[s].extend(log_probabilities.subspan(first * vocabulary, num_beams * vocabulary), vocabulary,
                         static_cast<int64_t>(first), std::span(parents).subspan(first, num_beams),
                         std::span(tokens).subspan(first, num_beams));
    }
  }
  std::vector<DecodedSequence> results;
  for (SampleSearch& search : searches) results.push_back(search.take_result());
  return results;
}

}  // namespace triptych::evaluation
