#include "training/pixel_baseline.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <unordered_map>

#include "data/field_sources.h"
#include "data/loader.h"
#include "training/retrieval.h"

namespace triptych {
namespace {

constexpr int64_t kSide = 32;
constexpr int64_t kPixels = kSide * kSide * 3;

// Centred, in [-0.5, 0.5]; zero where there is no picture.
std::vector<float> load_pixels(std::shared_ptr<const Dataset> dataset, int threads) {
  const auto size = static_cast<int64_t>(dataset->size());
  LoaderOptions options;
  options.fields = {pixels_field(kSide), presence_fields()};
  options.global_batch = std::min<int64_t>(256, size);
  options.threads = threads;
  options.training = false;
  Loader loader(dataset, std::move(options));
  std::vector<float> pixels(static_cast<std::size_t>(size * kPixels), 0);
  for (int64_t step = 0; step < loader.num_steps(); ++step) {
    Batch batch = loader.next();
    for (std::size_t row = 0; row < batch.sample_ids.size(); ++row) {
      const auto r = static_cast<int64_t>(row);
      if (batch.sample_ids[row] == kNoSample || batch.row<uint8_t>("image_present", r)[0] == 0) continue;
      const auto from = batch.row<uint8_t>("pixels", r);
      float* to = pixels.data() + static_cast<int64_t>(batch.sample_ids[row]) * kPixels;
      for (int64_t i = 0; i < kPixels; ++i) {
        to[i] = static_cast<float>(from[static_cast<std::size_t>(i)]) / 255.0f - 0.5f;
      }
    }
    loader.recycle(std::move(batch));
  }
  return pixels;
}

std::vector<float> squared_lengths(const std::vector<float>& rows) {
  std::vector<float> result(rows.size() / kPixels);
  for (std::size_t r = 0; r < result.size(); ++r) {
    double sum = 0;
    for (int64_t i = 0; i < kPixels; ++i) {
      const double x = rows[r * kPixels + static_cast<std::size_t>(i)];
      sum += x * x;
    }
    result[r] = static_cast<float>(sum);
  }
  return result;
}

std::set<std::string> words_of(const std::string& caption) {
  std::set<std::string> words;
  std::string word;
  for (const char c : caption + " ") {
    const bool separates = c == ' ' || c == ',' || c == ':' || c == ';';
    if (!separates) {
      word += c;
    } else if (!word.empty()) {
      words.insert(std::exchange(word, ""));
    }
  }
  return words;
}

struct Match {
  int64_t training;
  float overlap;
};

// For each caption, the training captions that share a word with it.
std::vector<std::vector<Match>> match_captions(const std::vector<std::string>& captions,
                                               const std::vector<std::string>& training) {
  std::vector<std::set<std::string>> training_words;
  std::unordered_map<std::string, std::vector<int64_t>> with_word;
  for (std::size_t t = 0; t < training.size(); ++t) {
    training_words.push_back(words_of(training[t]));
    for (const std::string& word : training_words.back()) with_word[word].push_back(static_cast<int64_t>(t));
  }
  std::vector<std::vector<Match>> matches;
  for (const std::string& caption : captions) {
    const std::set<std::string> words = words_of(caption);
    std::unordered_map<int64_t, int64_t> shared;
    for (const std::string& word : words) {
      const auto found = with_word.find(word);
      if (found == with_word.end()) continue;
      for (const int64_t t : found->second) ++shared[t];
    }
    std::vector<Match>& row = matches.emplace_back();
    for (const auto& [t, count] : shared) {
      const auto all =
          words.size() + training_words[static_cast<std::size_t>(t)].size() - static_cast<std::size_t>(count);
      row.push_back({t, static_cast<float>(count) / static_cast<float>(all)});
    }
  }
  return matches;
}

}  // namespace

PixelBaseline::PixelBaseline(std::shared_ptr<const Dataset> training, int threads)
    : threads_(threads), pixels_(load_pixels(training, threads)), captions_(first_captions(*training)) {}

std::vector<float> PixelBaseline::scores(std::shared_ptr<const Dataset> set, Device& device) const {
  const std::vector<float> pictures = load_pixels(set, threads_);
  std::vector<float> distances = similarities(device, pictures, pixels_, kPixels);
  const std::vector<float> a = squared_lengths(pictures), b = squared_lengths(pixels_);
  std::vector<float> nearest;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t t = 0; t < b.size(); ++t) {
      float& d = distances[i * b.size() + t];
      d = std::max(0.0f, a[i] + b[t] - 2 * d);
    }
    const auto row = distances.begin() + static_cast<std::ptrdiff_t>(i * b.size());
    nearest.push_back(*std::min_element(row, row + static_cast<std::ptrdiff_t>(b.size())));
  }
  std::nth_element(nearest.begin(), nearest.begin() + static_cast<std::ptrdiff_t>(nearest.size() / 2), nearest.end());
  const float scale = std::max(1e-6f, nearest[nearest.size() / 2]);
  for (float& d : distances) d = std::exp(-d / scale);

  const std::vector<std::vector<Match>> matches = match_captions(first_captions(*set), captions_);
  const std::size_t n = a.size();
  std::vector<float> scores(n * n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      float best_score = 0;
      for (const Match& match : matches[j]) {
        best_score =
            std::max(best_score, match.overlap * distances[i * b.size() + static_cast<std::size_t>(match.training)]);
      }
      scores[i * n + j] = best_score;
    }
  }
  return scores;
}

}  // namespace triptych
