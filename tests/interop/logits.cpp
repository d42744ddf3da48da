// usage: interop_logits FOLDER
//
// Compares this program's forward passes with what another library computed from the same weights and inputs: FOLDER
// has what make_reference.py wrote. Prints a line a comparison and mesh; exit code 1 if one of them is too far.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "evaluation/decoding.h"
#include "interop/reference_file.h"
#include "models/captioner.h"
#include "models/classifier.h"
#include "nn/decoding.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using test::ReferenceFile;

const std::string kLogits = "logits", kMemory = "memory";
// Names the slot that the executor is to reach; nothing here asks for the loss.
const std::vector<ObjectiveSpec> kObjectives{
    cross_entropy_objective({.name = "unused", .slot = kLogits, .field = "targets"})};

// A rank's part of a model, with a reference's parameters.
struct Rank : test::RankModel {
  Rank(Group& world, const MeshShape& shape, const ModelSpec& spec, const ReferenceFile& reference)
      : RankModel(world, shape, spec, kObjectives, gpipe(shape.pp, 1, LossCoupling::kSplit)) {
    reference.load(store, mesh);
  }

  Inference inference{device, mesh, executor, InferenceOptions{}};
};

ImageEncoderConfig image_config(const ReferenceFile& reference) {
  return {.size = reference.number("image.size"),
          .patch = reference.number("image.patch"),
          .sizes = {.width = reference.number("image.width"),
                    .layers = reference.number("image.layers"),
                    .heads = reference.number("image.heads"),
                    .feed_forward = reference.number("image.feed_forward")},
          .pooling = ImageEncoderConfig::Pooling::kClassToken};
}

ModelSpec classifier_of(const ReferenceFile& reference) {
  return classifier({.image = image_config(reference), .num_classes = reference.number("classes")});
}

// With the class token in what the decoder attends to.
ModelSpec captioner_of(const ReferenceFile& reference) {
  return captioner({.image = image_config(reference),
                    .text = {.length = reference.number("text.length"),
                             .vocabulary = reference.number("text.vocabulary"),
                             .sizes = {.width = reference.number("text.width"),
                                       .layers = reference.number("text.layers"),
                                       .heads = reference.number("text.heads"),
                                       .feed_forward = reference.number("text.feed_forward")}}});
}

// The largest difference over the largest magnitude that is expected, of rows whose first columns alone are compared.
double largest_error(const std::vector<float>& actual, const std::vector<float>& expected, std::size_t columns) {
  const std::size_t rows = expected.size() / columns, width = rows > 0 ? actual.size() / rows : 0;
  if (width < columns || actual.size() != rows * width) return std::numeric_limits<double>::infinity();
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto e = static_cast<double>(expected[i]);
    const double d = std::abs(static_cast<double>(actual[i / columns * width + i % columns]) - e);
    if (!(d <= difference)) difference = d;  // a NaN stays
    largest = std::max(largest, std::abs(e));
  }
  return difference / largest;
}

struct Line {
  std::string what;
  double error;
};

std::vector<Line> compare_classifier(Group& world, const MeshShape& shape, const ReferenceFile& reference) {
  Rank rank(world, shape, classifier_of(reference), reference);
  const std::vector<float> expected = reference.values<float>("output/logits");
  Fields fields(reference.shape("input/pixels")[0]);
  fields.set("pixels", reference.tensor<uint8_t>(rank.device, "input/pixels"));
  return {{"classifier: logits", largest_error(rank.inference.infer(fields, kLogits), expected,
                                               static_cast<std::size_t>(reference.number("classes")))}};
}

// The logits of given texts, token by token; laid out as those of whole texts.
std::vector<float> logits_by_token(Rank& rank, const Fields& pixels, const std::vector<int32_t>& tokens,
                                   int64_t length) {
  const int64_t rows = pixels.num_samples();
  DecodingCache cache(length);
  std::vector<float> all;
  for (int64_t t = 0; t < length; ++t) {
    std::vector<int32_t> column;
    for (int64_t row = 0; row < rows; ++row) column.push_back(tokens[static_cast<std::size_t>(row * length + t)]);
    Fields fields = t == 0 ? pixels : Fields(rows);
    fields.set("tokens", Tensor::from<int32_t>(rank.device, Shape{rows, 1}, column));
    const Values values = rank.executor.decode(fields, kLogits, kMemory, cache);
    const std::vector<float> scores =
        rank.inference.to_all_hosts(values.empty() ? Variable() : value_of(values, kLogits));
    cache.advance();
    const std::size_t width = scores.size() / static_cast<std::size_t>(rows);
    all.resize(static_cast<std::size_t>(rows * length) * width);
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
      const auto from = scores.begin() + static_cast<std::ptrdiff_t>(row * width);
      const std::size_t to = row * static_cast<std::size_t>(length) + static_cast<std::size_t>(t);
      std::copy_n(from, width, all.begin() + static_cast<std::ptrdiff_t>(to * width));
    }
  }
  return all;
}

// Greedy decoding of the texts that begin with the reference's prompt: how many texts have another token or another
// end, and how far the texts' log-probabilities are from the reference's.
std::vector<Line> compare_greedy(Rank& rank, const Fields& pixels, const ReferenceFile& reference) {
  const std::vector<int32_t> prompt = reference.values<int32_t>("input/prompt");
  const std::vector<int32_t> expected = reference.values<int32_t>("output/greedy_tokens");  // negative beyond the end
  const std::vector<int32_t> finished = reference.values<int32_t>("output/greedy_finished");
  const std::vector<DecodedSequence> texts =
      decode(rank.inference, pixels, prompt, static_cast<int32_t>(reference.number("end_token")),
             {.length = reference.number("text.length"), .num_tokens = reference.number("tokens"), .never = {}});
  const std::size_t columns = expected.size() / texts.size();
  std::vector<float> log_probabilities;
  double different = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> tokens = texts[i].tokens;
    tokens.resize(std::max(columns, tokens.size()), -1);
    const auto row = expected.begin() + static_cast<std::ptrdiff_t>(i * columns);
    const bool is_equal = tokens.size() == columns && std::equal(tokens.begin(), tokens.end(), row);
    if (!is_equal || texts[i].is_finished != (finished[i] != 0)) ++different;
    log_probabilities.push_back(static_cast<float>(texts[i].log_probability));
  }
  return {{"captioner: greedy texts that differ", different},
          {"captioner: their log-probabilities",
           largest_error(log_probabilities, reference.values<float>("output/greedy_log_probability"), 1)}};
}

std::vector<Line> compare_captioner(Group& world, const MeshShape& shape, const ReferenceFile& reference) {
  Rank rank(world, shape, captioner_of(reference), reference);
  const std::vector<float> expected = reference.values<float>("output/logits");
  const auto columns = static_cast<std::size_t>(reference.number("tokens"));
  Fields pixels(reference.shape("input/pixels")[0]);
  pixels.set("pixels", reference.tensor<uint8_t>(rank.device, "input/pixels"));
  Fields both = pixels;
  both.set("tokens", reference.tensor<int32_t>(rank.device, "input/tokens"));
  std::vector<Line> lines{
      {"captioner: the encoder's sequence",
       largest_error(rank.inference.infer(pixels, kMemory), reference.values<float>("output/memory"), 1)},
      {"captioner: logits of whole texts", largest_error(rank.inference.infer(both, kLogits), expected, columns)},
      {"captioner: logits token by token",
       largest_error(
           logits_by_token(rank, pixels, reference.values<int32_t>("input/tokens"), reference.number("text.length")),
           expected, columns)}};
  for (Line& line : compare_greedy(rank, pixels, reference)) lines.push_back(std::move(line));
  return lines;
}

int run(const std::filesystem::path& folder) {
  const ReferenceFile vit(folder / "classifier.safetensors"), encoder_decoder(folder / "captioner.safetensors");
  int num_bad = 0;
  fmt::print("{:<38} {:>10} {:>12}\n", "compared", "mesh", "error");
  for (const MeshShape& shape :
       {MeshShape{}, MeshShape{.tp = 2}, MeshShape{.pp = 2}, MeshShape{.pp = 4}, MeshShape{.pp = 2, .tp = 2}}) {
    std::vector<Line> lines;
    run_ranks(shape.pp * shape.tp, [&](Group& world) {
      std::vector<Line> mine = compare_classifier(world, shape, vit);
      for (Line& line : compare_captioner(world, shape, encoder_decoder)) mine.push_back(std::move(line));
      if (world.rank() == 0) lines = std::move(mine);
    });
    for (const Line& line : lines) {
      const bool is_good = line.error <= test::kBetweenLibraries;  // false for a NaN
      num_bad += is_good ? 0 : 1;
      fmt::print("{:<38} {:>10} {:>12.2e}{}\n", line.what, fmt::format("pp{} tp{}", shape.pp, shape.tp), line.error,
                 is_good ? "" : "  TOO FAR");
    }
  }
  fmt::print("{} too far (more than {:.0e} of the largest magnitude)\n", num_bad, test::kBetweenLibraries);
  return num_bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace triptych::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("interop_logits: [arguments] one folder is needed, that of make_reference.py. Run tests/interop/run.\n",
               stderr);
    return 2;
  }
  try {
    return triptych::test::run(argv[1]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "interop_logits: {}\n", error.what());
    return 1;
  }
}
