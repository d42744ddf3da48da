#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/philox.h"
#include "checkpoint/checkpoint_reader.h"
#include "data/captions.h"
#include "data/dataset.h"
#include "data/png_writer.h"
#include "data/small_data_set.h"
#include "parallel/agreement.h"
#include "parallel/in_process_group.h"
#include "report/metrics.h"
#include "tasks/standard_tasks.h"
#include "text/tokenizer.h"
#include "text/training.h"
#include "training/thread_world.h"
#include "training/trainer.h"

// Training runs of small models on a small data set, ranks as threads.

namespace triptych::test {

inline constexpr int64_t kVocabulary = 60;
inline const std::string kTowers = R"(
[model.image]
size = 12
patch = 4
width = 16
layers = 1
heads = 2
feed_forward = 24
[model.text]
length = 9
vocabulary = 60
width = 16
layers = 2
heads = 2
feed_forward = 20
)";
inline const std::string kConfig = kTowers + R"(
[run]
seed = 5
threads = 1
[parallel]
microbatches = 2
[model]
embedding = 12
dropout = 0.1
[training]
steps = 20
global_batch = 8
[optimizer]
learning_rate = 3e-3
warmup_steps = 3
[data.augment]
min_scale = 0.5
flip_probability = 0.5
brightness = 0.2
[checkpoint]
every = 10
keep = 0
)";

// 23 noisy pictures with two captions each, and a tokenizer of them; made once.
inline const std::filesystem::path& data_set() {
  static const ScratchFolder folder;
  static const std::filesystem::path path = [] {
    const std::vector<std::string> colors{"red", "green", "blue"}, things{"square", "circle", "star", "tree"};
    const auto data = make_data_set(folder / "data", 23, [&](uint64_t i) {
      std::vector<uint8_t> pixels;
      for (uint64_t k = 0; k < 20 * 17 * 3; ++k) {
        pixels.push_back(static_cast<uint8_t>(philox_word({.seed = i, .counter = 0}, k) >> 24));
      }
      const std::string name = colors[i % 3] + " " + things[i % 4];
      return SmallSample{encode_png(20, 17, pixels), {"a " + name, fmt::format("number {} is a {}", i, name)}};
    });
    const std::string model = train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                              {.vocabulary = kVocabulary, .character_coverage = 1});
    write_file_atomically(folder / "data/tokenizer.model", model);
    return folder / "data";
  }();
  return path;
}

class Training : public ::testing::Test {
 protected:
  // `overrides` of what the text says.
  RunConfig config(const std::string& dir, const MeshShape& mesh = {}, std::vector<std::string> overrides = {},
                   const std::string& text = kConfig) {
    const std::filesystem::path file = folder_ / "run.toml";
    write_file_atomically(file, text);
    const auto set = [&](const std::string& key, const std::string& value) {
      overrides.insert(overrides.begin(), key + "=" + value);
    };
    set("run.dir", '"' + (folder_ / dir).string() + '"');
    set("data.path", '"' + data_set().string() + '"');
    set("parallel.pp", std::to_string(mesh.pp));
    set("parallel.dp", std::to_string(mesh.dp));
    set("parallel.cp", std::to_string(mesh.cp));
    set("parallel.tp", std::to_string(mesh.tp));
    return load_run_config(file, overrides, standard_tasks(), MeshUse::kSteps, mesh.pp * mesh.dp * mesh.cp * mesh.tp);
  }
  void run(const RunConfig& c, const TrainingRequest& request = {}) {
    const MeshShape& mesh = c.parallel.mesh;
    run_ranks(mesh.pp * mesh.dp * mesh.cp * mesh.tp, [&](Group& group) {
      ThreadWorld world(group);
      train(c, world, request);
    });
  }
  std::vector<StepMetrics> metrics(const std::string& dir) { return read_metrics(folder_ / dir / "metrics.jsonl"); }
  CheckpointReader checkpoint(const std::string& dir, const std::string& which) {
    return CheckpointReader::open(folder_ / dir / "checkpoints", which);
  }
  // Every tensor of a checkpoint (weights and moments), whole, as its bytes.
  static std::map<std::string, std::vector<float>> tensors(CheckpointReader reader) {
    std::map<std::string, std::vector<float>> result;
    for (const auto& [name, tensor] : reader.manifest().tensors) {
      std::vector<float>& values = result[name];
      values.resize(static_cast<std::size_t>(volume(tensor.shape)));
      reader.read(whole_tensor(name, DType::kFloat32, tensor.shape), reinterpret_cast<std::byte*>(values.data()));
    }
    return result;
  }
  static void expect_same_bits(const std::vector<StepMetrics>& a, const std::vector<StepMetrics>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].step, b[i].step);
      EXPECT_EQ(a[i].loss, b[i].loss) << "step " << a[i].step;
      EXPECT_EQ(a[i].grad_norm, b[i].grad_norm) << "step " << a[i].step;
      EXPECT_EQ(a[i].scalars, b[i].scalars) << "step " << a[i].step;
      EXPECT_EQ(a[i].learning_rate, b[i].learning_rate) << "step " << a[i].step;
    }
  }
  void expect_refused(const RunConfig& c, const TrainingRequest& request, const std::string& part) {
    expect_ended(c, request, ErrorKind::kUser, {part});
  }

  void expect_ended(const RunConfig& c, const TrainingRequest& request, ErrorKind kind,
                    const std::vector<std::string>& parts) {
    try {
      run(c, request);
      ADD_FAILURE() << "did not fail with: " << parts.front();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      }
    }
  }

  // Overrides with which the first update makes the model useless, all its numbers finite.
  const std::vector<std::string> kLost{"optimizer.learning_rate=1e25", "optimizer.warmup_steps=0"};
  ScratchFolder folder_;
};

}  // namespace triptych::test
