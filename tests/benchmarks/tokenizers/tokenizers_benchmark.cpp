// Texts a second that one thread cuts into tokens, with the small tokenizers of tests/text/reference: captions, and
// texts that are hard. tests/interop/run tokenizers measures larger ones, beside the libraries that they are of.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "text/tokenizer.h"

namespace triptych::test {
namespace {

const std::filesystem::path kFolder = TRIPTYCH_REFERENCE_FOLDER;

void cut(benchmark::State& state, const std::string& file, const std::vector<std::string>& texts) {
  const auto tokenizer = Tokenizer::from_file(kFolder / file);
  std::vector<int32_t> ids(77);
  int64_t num_texts = 0, num_bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    for (const std::string& text : texts) {
      benchmark::DoNotOptimize(tokenizer->encode(text, ids));
      num_bytes += static_cast<int64_t>(text.size());
    }
    num_texts += static_cast<int64_t>(texts.size());
  }
  state.SetItemsProcessed(num_texts);
  state.SetBytesProcessed(num_bytes);
}

void register_all() {
  const std::vector<std::string> captions{"a red apple on the table",
                                          "two dogs run over a green meadow in the evening sun",
                                          "a photo of an old steam train", "das weiße Haus am See"};
  const auto hard =
      nlohmann::json::parse(read_text_file(kFolder / "texts.json", 1 << 24)).get<std::vector<std::string>>();
  for (const char* file : {"clip_merges.txt.gz", "clip.json", "bert_uncased.json", "gpt2.json", "llama3.json",
                           "llama2.json", "t5.json", "sentencepiece_unigram.model", "sentencepiece_bpe.model"}) {
    const std::string name = file;
    benchmark::RegisterBenchmark(("captions/" + name).c_str(),
                                 [=](benchmark::State& state) { cut(state, name, captions); });
    benchmark::RegisterBenchmark(("hard/" + name).c_str(), [=](benchmark::State& state) { cut(state, name, hard); });
  }
}

}  // namespace
}  // namespace triptych::test

int main(int count, char** arguments) {
  triptych::test::register_all();
  benchmark::Initialize(&count, arguments);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
