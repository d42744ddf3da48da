// What a cache of keys and values spares: tokens a second of a language model that writes greedily, with the cache and
// with a pass over the whole text for each token. Built with the tests, run by hand: benchmark_decoding.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "evaluation/decoding.h"
#include "models/language.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"

namespace triptych::test {
namespace {

constexpr int64_t kLength = 64, kVocabulary = 8192, kTexts = 8;
constexpr int32_t kBegin = 2, kNoEnd = 3;  // the end token is never written, so that all texts are as long

struct Model {
  std::unique_ptr<Group> group = make_self_group("benchmark");
  RankModel rank{*group,
                 {},
                 language_model({.text = {.length = kLength,
                                          .vocabulary = kVocabulary,
                                          .sizes = {.width = 256, .layers = 6, .heads = 4, .feed_forward = 1024}}}),
                 {cross_entropy_objective({.name = "language", .slot = "logits", .field = "targets"})},
                 gpipe({1, 1, 1, LossCoupling::kSplit}),
                 {.seed = 1}};
  Inference inference{rank.device, rank.mesh, rank.executor, {}};
};

void tell_tokens(benchmark::State& state) {
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kTexts * (kLength - 1)), benchmark::Counter::kIsRate);
}

void with_cache(benchmark::State& state) {
  Model model;
  const DecodingOptions options{.length = kLength, .num_tokens = kVocabulary, .never = {kNoEnd}};
  for (auto _ : state) {
    const std::vector<int32_t> prompt{kBegin};
    benchmark::DoNotOptimize(decode(model.inference, Fields(kTexts), prompt, kNoEnd, options));
  }
  tell_tokens(state);
}

void without_cache(benchmark::State& state) {
  Model model;
  for (auto _ : state) {
    std::vector<int32_t> tokens(kTexts * kLength, kBegin);
    for (int64_t t = 0; t + 1 < kLength; ++t) {
      Fields fields(kTexts);
      fields.set("tokens", Tensor::from<int32_t>(model.rank.device, Shape{kTexts, kLength}, tokens));
      const std::vector<float> logits = model.inference.infer(fields, "logits");
      for (int64_t text = 0; text < kTexts; ++text) {
        const auto row = logits.begin() + (text * kLength + t) * kVocabulary;
        tokens[static_cast<std::size_t>(text * kLength + t + 1)] =
            static_cast<int32_t>(std::max_element(row, row + kVocabulary) - row);
      }
    }
    benchmark::DoNotOptimize(tokens);
  }
  tell_tokens(state);
}

BENCHMARK(with_cache)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(without_cache)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace triptych::test
