// The metrics over corpora as large as COCO's: 50,000 captions with five references each, 5,000 images with 100
// detections each, and the matching of a batch's queries with its objects. Built with the tests, run by hand:
// benchmark_metrics.
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/assignment.h"
#include "evaluation/bleu.h"
#include "evaluation/cider.h"
#include "evaluation/detection_metrics.h"

namespace triptych::test {
namespace {

constexpr int kNumImages = 50000, kNumReferences = 5, kNumWords = 8000;

struct Corpus {
  std::vector<std::string> produced;
  std::vector<std::vector<std::string>> references;
};

// Captions of 8 to 14 words, whose frequencies fall as 1 over their rank, as those of a language do.
Corpus make_corpus() {
  std::mt19937 random(1);
  std::vector<double> weights;
  for (int i = 1; i <= kNumWords; ++i) weights.push_back(1.0 / i);
  std::discrete_distribution<int> word(weights.begin(), weights.end());
  const auto caption = [&] {
    std::string text;
    for (auto left = 8 + random() % 7; left > 0; --left) text += "word" + std::to_string(word(random)) + " ";
    return text + ".";
  };
  Corpus corpus;
  for (int i = 0; i < kNumImages; ++i) {
    corpus.produced.push_back(caption());
    corpus.references.emplace_back();
    for (int k = 0; k < kNumReferences; ++k) corpus.references.back().push_back(caption());
  }
  return corpus;
}

template <typename Counter>
void of_captions(benchmark::State& state) {
  const Corpus corpus = make_corpus();
  for (auto _ : state) {
    Counter counter;
    for (std::size_t i = 0; i < corpus.produced.size(); ++i) counter.add(corpus.produced[i], corpus.references[i]);
    benchmark::DoNotOptimize(counter.corpus_score());
  }
}
BENCHMARK(of_captions<BleuCounter>)->Name("bleu/50000x5")->Unit(benchmark::kSecond)->Iterations(1);
BENCHMARK(of_captions<CiderCounter>)->Name("cider/50000x5")->Unit(benchmark::kSecond)->Iterations(1);

// Images of 640 x 640 with 7 objects; half of the detections lie near one.
void of_detections(benchmark::State& state) {
  constexpr int kNumObjects = 7, kNumDetections = 100;
  const auto num_classes = static_cast<uint32_t>(state.range(0));
  std::mt19937 random(1);
  std::vector<std::vector<Detection>> detections(5000);
  std::vector<std::vector<TrueObject>> objects(5000);
  const auto up_to = [&](double most) { return most * static_cast<double>(random()) / 0x1p32; };
  for (std::size_t i = 0; i < detections.size(); ++i) {
    for (int k = 0; k < kNumObjects; ++k) {
      const double x = up_to(500), y = up_to(500);
      objects[i].push_back(
          {{x, y, x + 10 + up_to(130), y + 10 + up_to(130)}, static_cast<int64_t>(random() % num_classes)});
    }
    for (int k = 0; k < kNumDetections; ++k) {
      TrueObject near = objects[i][random() % kNumObjects];
      const double shift = k % 2 == 0 ? up_to(20) : up_to(400);
      near.box.x0 += shift;
      near.box.x1 += shift;
      detections[i].push_back({near.box, near.label, up_to(1)});
    }
  }
  for (auto _ : state) {
    DetectionCounter counter(num_classes);
    for (std::size_t i = 0; i < detections.size(); ++i) counter.add(detections[i], objects[i]);
    for (const auto size : {ObjectSize::kAll, ObjectSize::kSmall, ObjectSize::kMedium, ObjectSize::kLarge}) {
      benchmark::DoNotOptimize(counter.scores(size));
    }
  }
}
BENCHMARK(of_detections)->Name("map/5000x100/classes")->Arg(1)->Arg(80)->Unit(benchmark::kSecond)->Iterations(1);

void of_assignment(benchmark::State& state) {
  const int64_t rows = state.range(0), columns = state.range(1);
  std::mt19937 random(1);
  std::vector<double> costs(static_cast<std::size_t>(rows * columns));
  for (double& cost : costs) cost = static_cast<double>(random());
  for (auto _ : state) benchmark::DoNotOptimize(assign_least_cost(costs, rows, columns));
}
BENCHMARK(of_assignment)
    ->Name("assignment")
    ->Args({100, 20})
    ->Args({900, 100})
    ->Args({1000, 1000})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace triptych::test
