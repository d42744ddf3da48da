// usage: interop_logits FOLDER
//
// Compares this program's forward passes with what another library computed from the same weights and inputs: FOLDER
// has what make_reference.py wrote. Prints a line a comparison and mesh; exit code 1 if one of them is too far.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "config/config_reader.h"
#include "evaluation/decoding.h"
#include "interop/reference_file.h"
#include "nn/decoding.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/run_config.h"

namespace triptych::test {
namespace {

using test::ReferenceFile;

const std::string kLogits = "logits", kMemory = "memory";

// The task that a reference's config asks for.
std::shared_ptr<const Task> read_task(const ReferenceFile& reference, const MeshShape& mesh) {
  if (reference.is_imported()) {
    std::vector<std::string> overrides;
    std::istringstream lines(reference.text("overrides"));
    for (std::string line; std::getline(lines, line);) overrides.push_back(line);
    return load_run_config(reference.imported_config(), overrides, standard_tasks()).task;
  }
  ConfigReader reader = ConfigReader::from_text(reference.text("config"), "the reference's config");
  std::string name;
  reader.read("task", name, "Of the standard tasks.").required();
  for (const TaskKind& kind : standard_tasks()) {
    if (kind.name != name) continue;
    std::unique_ptr<Task> task = kind.read(reader, mesh);
    reader.finish();
    return task;
  }
  throw UserError("reference", fmt::format("no task is named '{}'. See make_reference.py", name));
}

// A rank's part of a task's model, with a reference's parameters.
struct Rank : test::RankModel {
  Rank(Group& world, const MeshShape& shape, const Task& task, const ReferenceFile& reference)
      : Rank(world, shape, task.model(), task.objectives(), reference) {}
  Rank(Group& world, const MeshShape& shape, ModelSpec spec, const std::vector<ObjectiveSpec>& objectives,
       const ReferenceFile& reference)
      : RankModel(world, shape, std::move(spec), objectives, gpipe({shape.pp, 1, 1, coupling_of(objectives)})) {
    reference.load(store, mesh);
  }

  Inference inference{device, mesh, executor, InferenceOptions{}};
};

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
// end, and how far the texts' log-probabilities are from the reference's. Before that the logits of its given texts,
// token by token.
std::vector<Line> compare_greedy(Rank& rank, const Fields& all, const ReferenceFile& reference) {
  Fields pixels(all.num_samples());
  pixels.set("pixels", all["pixels"]);
  const std::vector<int32_t> prompt = reference.values<int32_t>("greedy/prompt");
  const std::vector<int32_t> expected = reference.values<int32_t>("greedy/tokens");  // negative beyond the end
  const std::vector<int32_t> finished = reference.values<int32_t>("greedy/finished");
  const int64_t length = reference.number("length"), num_tokens = reference.number("tokens");
  const std::vector<DecodedSequence> texts =
      decode(rank.inference, pixels, prompt, static_cast<int32_t>(reference.number("end_token")),
             {.length = length, .num_tokens = num_tokens, .never = {}});
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
  return {{"logits token by token",
           largest_error(logits_by_token(rank, pixels, reference.values<int32_t>("field/tokens"), length),
                         reference.values<float>("slot/" + kLogits), static_cast<std::size_t>(num_tokens))},
          {"greedy texts that differ", different},
          {"their log-probabilities",
           largest_error(log_probabilities, reference.values<float>("greedy/log_probability"), 1)}};
}

// A training step's values, and the gradient that is furthest from the library's: the 2-norm of the difference over
// that of the whole gradient, or, of a scalar, over the magnitudes of what it is the sum of.
std::vector<Line> compare_step(Rank& rank, const Fields& fields, const ReferenceFile& reference) {
  std::vector<Line> lines;
  const std::vector<double> values = step_values_of(rank, rank.executor.run_step(std::span(&fields, 1), 1));
  for (const std::string& name : reference.names("step")) {
    const std::vector<StepValue>& all = rank.executor.step_values();
    const auto found = std::find_if(all.begin(), all.end(), [&](const StepValue& value) { return value.name == name; });
    const double expected = reference.values<double>("step/" + name).at(0);
    const bool is_there = found != all.end();
    const double actual = is_there ? values[static_cast<std::size_t>(found - all.begin())] : 0;
    lines.push_back(
        {name, is_there ? std::abs(actual - expected) / std::abs(expected) : std::numeric_limits<double>::infinity()});
  }
  double worst = 0;
  const std::map<std::string, double> magnitudes = rank.executor.gradient_magnitudes();
  for (const Parameter* parameter : rank.store.all()) {
    const std::string name = "gradient/" + parameter->name;
    if (!reference.has(name)) continue;
    const std::vector<float> actual = parameter->gradient.tensor().to_vector<float>();
    const std::vector<float> expected = reference.piece(name, *parameter, rank.mesh).to_vector<float>();
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      difference += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
    }
    for (const float x : reference.values<float>(name)) norm += static_cast<double>(x) * static_cast<double>(x);
    const auto magnitude = magnitudes.find(parameter->name);  // of a sum that cancels
    const double error = std::sqrt(difference) / (magnitude != magnitudes.end() ? magnitude->second : std::sqrt(norm));
    if (!(error <= worst)) worst = error;  // a NaN stays
  }
  rank.mesh.world().all_reduce(&worst, 1, DType::kFloat64, ReduceOp::kMax)->wait();
  lines.push_back({"the worst of the gradients", worst});
  return lines;
}

std::vector<Line> compare(Group& world, const MeshShape& shape, const ReferenceFile& reference) {
  const std::shared_ptr<const Task> task = read_task(reference, shape);
  Rank rank(world, shape, *task, reference);
  const Fields fields = reference.fields(rank.device);
  std::vector<Line> lines;
  for (const std::string& slot : reference.names("slot")) {
    const std::string name = "slot/" + slot;
    const Shape expected = reference.shape(name);
    lines.push_back({slot, largest_error(rank.inference.infer(fields, slot), reference.values<float>(name),
                                         static_cast<std::size_t>(expected[expected.rank() - 1]))});
  }
  for (Line& line : compare_step(rank, fields, reference)) lines.push_back(std::move(line));
  if (!reference.names("greedy").empty()) {
    for (Line& line : compare_greedy(rank, fields, reference)) lines.push_back(std::move(line));
  }
  return lines;
}

int run(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) throw UserError("reference", folder.string() + " has no reference. Run tests/interop/run");
  const std::vector<MeshShape> meshes{{}, {.tp = 2}, {.pp = 2}, {.pp = 4}, {.pp = 2, .tp = 2}};
  int num_bad = 0;
  fmt::print("{:<44}", "compared");
  for (const MeshShape& shape : meshes) fmt::print(" {:>9}", fmt::format("pp{} tp{}", shape.pp, shape.tp));
  fmt::print("\n");
  for (const std::filesystem::path& file : files) {
    const ReferenceFile reference(file);
    std::vector<std::vector<Line>> columns;
    for (const MeshShape& shape : meshes) {
      std::vector<Line>& lines = columns.emplace_back();
      run_ranks(shape.pp * shape.tp, [&](Group& world) {
        std::vector<Line> mine = compare(world, shape, reference);
        if (world.rank() == 0) lines = std::move(mine);
      });
    }
    for (std::size_t i = 0; i < columns[0].size(); ++i) {
      fmt::print("{:<44}", fmt::format("{}: {}", file.stem().string(), columns[0][i].what));
      for (const std::vector<Line>& lines : columns) {
        const bool is_good = lines[i].error <= test::kBetweenLibraries;  // false for a NaN
        num_bad += is_good ? 0 : 1;
        fmt::print(" {:>9}", fmt::format("{:.1e}{}", lines[i].error, is_good ? "" : "!"));
      }
      fmt::print("\n");
    }
  }
  fmt::print("{} too far (more than {:.0e})\n", num_bad, test::kBetweenLibraries);
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
