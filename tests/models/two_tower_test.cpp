#include "models/two_tower.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "checkpoint/safetensors.h"
#include "data/field_sources.h"
#include "data/scratch_folder.h"
#include "execution/batch_feeder.h"
#include "objectives/contrastive.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

using Pooling = ImageEncoderConfig::Pooling;
using Kind = ContrastiveConfig::Kind;

constexpr uint64_t kSeed = 11;
constexpr int64_t kRows = 6;
constexpr int64_t kElements = 4;  // of every parameter whose gradients are checked

struct Case {
  Pooling pooling;
  bool causal;
  Kind objective;
  int microbatches;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return fmt::format("{}_{}_{}_m{}", c.pooling == Pooling::kMean ? "mean" : "class",
                     c.causal ? "causal" : "bidirectional", c.objective == Kind::kInfoNce ? "infonce" : "sigmoid",
                     c.microbatches);
}

TwoTowerConfig tiny_config(const Case& c) {
  return {.image = {.size = 12,
                    .patch = 4,
                    .sizes = {.width = 18, .layers = 2, .heads = 3, .feed_forward = 22},
                    .pooling = c.pooling},
          .text = {.length = 7,
                   .vocabulary = 19,
                   .sizes = {.width = 14, .layers = 2, .heads = 2, .feed_forward = 26},
                   .causal = c.causal},
          .embedding = 10};
}

std::map<std::string, std::vector<double>> read_doubles(const std::filesystem::path& path) {
  const File file = File::open_read(path);
  std::map<std::string, std::vector<double>> result;
  for (const auto& [name, entry] : read_safetensors_header(file).tensors) {
    std::vector<double>& values = result[name];
    values.resize(entry.bytes / sizeof(double));
    file.pread(std::as_writable_bytes(std::span(values)), entry.offset);
  }
  return result;
}

// The element with the largest gradient, which the batch reaches for certain, and others by chance.
std::vector<int64_t> chosen_elements(const Parameter& parameter) {
  const std::vector<float> g = parameter.gradient.tensor().to_vector<float>();
  const auto count = static_cast<int64_t>(g.size());
  const auto largest = std::max_element(g.begin(), g.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  std::vector<int64_t> elements{largest - g.begin()};
  const RandomKey key = random_key(5, parameter.name, 0);
  for (uint64_t i = 1; i < kElements; ++i) elements.push_back(static_cast<int64_t>(philox_word(key, i)) % count);
  return elements;
}

template <typename T>
SafetensorsInput input_of(const std::string& name, DType dtype, std::vector<int64_t> shape, const T* data) {
  return {name, dtype, std::move(shape), reinterpret_cast<const std::byte*>(data)};
}

class TwoTower : public ::testing::TestWithParam<Case> {
 protected:
  // Runs the oracle on the parameters and the batch; what it found, by name.
  std::map<std::string, std::vector<double>> ask_oracle(const Case& c, const RankModel& rank, const Batch& batch,
                                                        const std::vector<std::vector<int64_t>>& elements) {
    const std::filesystem::path in = folder_ / "in.safetensors", out = folder_ / "out.safetensors";
    const TwoTowerConfig m = tiny_config(c);
    std::vector<SafetensorsInput> inputs{
        input_of("pixels", DType::kUInt8, {kRows, m.image.size, m.image.size, 3},
                 batch.values<uint8_t>("pixels").data()),
        input_of("tokens", DType::kInt32, {kRows, m.text.length}, batch.values<int32_t>("tokens").data()),
        input_of("lengths", DType::kInt32, {kRows}, batch.values<int32_t>("lengths").data())};
    std::size_t i = 0;
    for (const Parameter* p : rank.store.all()) {
      inputs.push_back(input_of(p->name, DType::kFloat32, p->global_shape.to_vector(), p->value.data<float>()));
      inputs.push_back(input_of("elements/" + p->name, DType::kInt64, {kElements}, elements[i++].data()));
    }
    write_safetensors(in, inputs,
                      {{"patch", std::to_string(m.image.patch)},
                       {"image_heads", std::to_string(m.image.sizes.heads)},
                       {"text_heads", std::to_string(m.text.sizes.heads)},
                       {"pooling", m.image.pooling == Pooling::kMean ? "mean" : "class"},
                       {"attention", m.text.causal ? "causal" : "bidirectional"},
                       {"objective", c.objective == Kind::kInfoNce ? "infonce" : "sigmoid"}});
    const std::filesystem::path script = std::filesystem::path(__FILE__).parent_path() / "two_tower_oracle.py";
    const std::string command =
        fmt::format("/usr/bin/python3 '{}' '{}' '{}'", script.string(), in.string(), out.string());
    if (std::system(command.c_str()) != 0) throw std::runtime_error("the oracle failed: " + command);
    return read_doubles(out);
  }

  ScratchFolder folder_;
};

// Everything is float32 against double. One operation is good to `summed` (tolerance.h). A gradient goes through about
// 2 towers' worth of 10 operations a block, 2 blocks, forward and back: 40 roundings in a row that add like a random
// walk are 6 times one. A gradient's element that is smaller than the root mean square of its tensor is measured
// against that, since its terms cancel.
TEST_P(TwoTower, EqualsItsDefinitionInDouble) {
  const Case& c = GetParam();
  const TwoTowerConfig m = tiny_config(c);
  const std::unique_ptr<Group> group = make_self_group("test");
  const std::vector<ObjectiveSpec> objectives{contrastive_objective({.kind = c.objective, .initial_bias = -1})};
  RankModel rank(*group, {}, two_tower(m), objectives, gpipe({1, 1, c.microbatches, LossCoupling::kCoupled}),
                 {.seed = kSeed});
  // Biases start at zero and norms at one: values of their own, so that each is seen to be used where it belongs.
  for (Parameter* p : rank.store.all()) {
    float* value = p->value.data<float>();
    if (p->decay || p->name.starts_with("objective.")) continue;
    const RandomKey key = random_key(3, p->name, 0);
    for (int64_t i = 0; i < p->value.num_elements(); ++i) {
      value[i] += static_cast<float>(0.2 * philox_normal(key, static_cast<uint64_t>(i)));
    }
  }
  const std::vector<FieldSource> sources{pixels_field(m.image.size),
                                         text_fields(nullptr, m.text.length, m.text.vocabulary)};
  const Batch batch = synthetic_batch(sources, kSeed, 0, kRows);
  const Fields data = to_device(rank.device, batch, rank.executor.fields());
  const double loss = rank.executor.run_step(data.cut(c.microbatches), 1).to_vector<double>()[0];
  const Values embeddings = rank.executor.infer(data, std::vector<std::string>{"image_embedding", "text_embedding"});
  const Tensor image = value_of(embeddings, "image_embedding").tensor();
  const Tensor text = value_of(embeddings, "text_embedding").tensor();
  std::vector<std::vector<int64_t>> elements;
  for (const Parameter* p : rank.store.all()) elements.push_back(chosen_elements(*p));
  const auto oracle = ask_oracle(c, rank, batch, elements);

  const double bound = 6 * tolerance(DType::kFloat32).summed;
  EXPECT_NEAR(loss, oracle.at("loss")[0], tolerance(DType::kFloat32).local * oracle.at("loss")[0]);
  EXPECT_LT(relative_error(image.to_vector<float>(), oracle.at("image_embedding")), bound);
  EXPECT_LT(relative_error(text.to_vector<float>(), oracle.at("text_embedding")), bound);

  const std::map<std::string, double> magnitudes = rank.executor.gradient_magnitudes();
  const std::vector<Parameter*> parameters = rank.store.all();
  double worst = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = *parameters[i];
    const std::vector<float> g = p.gradient.tensor().to_vector<float>();
    double squares = 0;
    for (const float x : g) squares += static_cast<double>(x) * x;
    double scale = std::sqrt(squares / static_cast<double>(g.size()));
    if (magnitudes.contains(p.name)) scale = magnitudes.at(p.name);  // a sum whose terms cancel
    ASSERT_GT(scale, 0) << p.name;
    for (std::size_t k = 0; k < elements[i].size(); ++k) {
      const double expected = oracle.at("gradient/" + p.name)[k];
      const double error =
          std::abs(g[static_cast<std::size_t>(elements[i][k])] - expected) / std::max(scale, std::abs(expected));
      EXPECT_LT(error, bound) << p.name << " element " << elements[i][k] << ": expected " << expected;
      worst = std::max(worst, error);
    }
  }
  RecordProperty("worst_gradient_error", fmt::format("{:.2g}", worst));
  EXPECT_GT(parameters.size(), 55u);
}

INSTANTIATE_TEST_SUITE_P(Variants, TwoTower,
                         ::testing::Values(Case{Pooling::kClassToken, true, Kind::kInfoNce, 1},
                                           Case{Pooling::kMean, false, Kind::kSigmoid, 3},
                                           Case{Pooling::kMean, true, Kind::kInfoNce, 2},
                                           Case{Pooling::kClassToken, false, Kind::kSigmoid, 1}),
                         name_of);

}  // namespace
}  // namespace triptych::test
