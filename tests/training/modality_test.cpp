#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/philox.h"
#include "checkpoint/checkpoint_reader.h"
#include "data/captions.h"
#include "data/png_writer.h"
#include "data/sample_order.h"
#include "data/small_data_set.h"
#include "parallel/in_process_group.h"
#include "report/metrics.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "text/tokenizer.h"
#include "text/training.h"
#include "training/task_configs.h"
#include "training/thread_world.h"
#include "training/trainer.h"

namespace triptych::test {
namespace {

constexpr uint64_t kSeed = 7, kBatch = 8, kSteps = kIsSanitized ? 15 : 50;
constexpr uint64_t kLabels = 7;
// Under the address sanitizer the second and the fourth, which does what the first and the third do.
const std::vector<const char*> kTasks =
    fewer_if_sanitized<const char*>({"contrastive", "classify", "caption", "coca", "answer"}, 2, 1);

// One of twelve brightnesses with some noise, and its name.
std::vector<std::byte> picture(uint64_t i) {
  std::vector<uint8_t> pixels;
  for (uint64_t k = 0; k < 6 * 5 * 3; ++k) {
    pixels.push_back(static_cast<uint8_t>(20 * (i % 12) + philox_word({.seed = i, .counter = 0}, k) % 32));
  }
  return encode_png(6, 5, pixels);
}

std::string name_of(uint64_t i) {
  const std::vector<std::string> colors{"red", "green", "blue"}, things{"star", "tree", "boat", "bell"};
  return colors[i % 3] + " " + things[i % 4];
}

// The samples that the later half of each batch has in the first epoch: those of the second of two ranks.
std::vector<bool> of_second_rank() {
  const SampleOrder order(kSeed, kBatch * kSteps, kBatch);
  std::vector<bool> result(kBatch * kSteps);
  for (uint64_t p = 0; p < kBatch * kSteps; ++p) result[order.sample_at(p)] = p % kBatch >= kBatch / 2;
  return result;
}

// Data sets, made once. Of most, the second of two ranks sees no image at all.
struct Sets {
  ScratchFolder folder;
  std::vector<bool> is_blind = of_second_rank();

  // What the samples without an image say is up to `text_of_blind`; all texts have one role.
  std::filesystem::path make(const std::string& name, const std::function<std::string(uint64_t)>& text_of_blind,
                             TextRole role = TextRole::kCaption) {
    const auto data = make_data_set(folder / name, is_blind.size(), [&](uint64_t i) {
      SmallSample sample{picture(i), {name_of(i), "a " + name_of(i)}, static_cast<int64_t>(i % 12 % kLabels)};
      if (is_blind[i]) {
        sample.image.clear();
        sample.captions = {text_of_blind(i)};
      } else if (i % 13 == 5) {  // a few more that lack something, so that no part of a batch is whole
        sample.captions.clear();
      } else if (i % 17 == 3) {
        sample.label.reset();
      }
      if (role != TextRole::kCaption) sample.roles.assign(sample.captions.size(), role);
      return sample;
    });
    if (!tokenizer.empty()) {
      write_file_atomically(folder / name / "tokenizer.model", tokenizer);
      return folder / name;
    }
    tokenizer = train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                {.vocabulary = 38, .character_coverage = 1});
    write_file_atomically(folder / name / "tokenizer.model", tokenizer);
    return folder / name;
  }

  static std::string no_name(uint64_t i) { return "no " + name_of(i); }
  static std::string other_text(uint64_t i) { return name_of(i + 1) + " and " + name_of(i); }

  std::string tokenizer;
  std::filesystem::path half = make("half", no_name), other_texts = make("other", other_text);
  std::filesystem::path questions = make("questions", no_name, TextRole::kQuestion),
                        other_questions = make("other_questions", other_text, TextRole::kQuestion);
};

Sets& sets() {
  static Sets all;
  return all;
}

class Modalities : public ::testing::TestWithParam<const char*> {
 protected:
  RunConfig config(const std::string& dir, const std::filesystem::path& data, const MeshShape& mesh = {},
                   std::vector<std::string> overrides = {}) {
    const std::filesystem::path file = folder_ / "run.toml";
    write_file_atomically(file, config_of(GetParam(), 1) + "[optimizer]\nlearning_rate = 1e-3\nwarmup_steps = 5\n");
    const auto set = [&](const std::string& key, const std::string& value) {
      overrides.insert(overrides.begin(), key + "=" + value);
    };
    set("run.dir", '"' + (folder_ / dir).string() + '"');
    set("run.threads", "1");
    set("data.path", '"' + data.string() + '"');
    set("training.global_batch", std::to_string(kBatch));
    set("training.steps", std::to_string(kSteps));
    set("parallel.pp", std::to_string(mesh.pp));
    set("parallel.dp", std::to_string(mesh.dp));
    set("parallel.tp", std::to_string(mesh.tp));
    return load_run_config(file, overrides, standard_tasks(), MeshUse::kSteps, mesh.pp * mesh.dp * mesh.tp);
  }

  std::vector<StepMetrics> run(const RunConfig& c, const TrainingRequest& request = {}) {
    const MeshShape& mesh = c.parallel.mesh;
    run_ranks(mesh.pp * mesh.dp * mesh.tp, [&](Group& group) {
      ThreadWorld world(group);
      train(c, world, request);
    });
    return read_metrics(std::filesystem::path(c.run.dir) / "metrics.jsonl");
  }

  // The weights at the end, by name, without the biases of keys: no gradient but rounding comes to these, since they
  // change no attention, and AdamW makes steps of it.
  std::map<std::string, std::vector<float>> weights(const std::string& dir) {
    CheckpointReader reader = CheckpointReader::open(folder_ / dir / "checkpoints", "latest");
    std::map<std::string, std::vector<float>> result;
    for (const auto& [name, tensor] : reader.manifest().tensors) {
      if (name.ends_with("_moment")) continue;
      std::vector<float>& values = result[name];
      values.resize(static_cast<std::size_t>(volume(tensor.shape)));
      reader.read(whole_tensor(name, DType::kFloat32, tensor.shape), reinterpret_cast<std::byte*>(values.data()));
      if (!name.ends_with("kv.bias")) continue;
      const bool has_queries = name.ends_with("qkv.bias");  // before the keys; behind them the values'
      const auto part = static_cast<std::ptrdiff_t>(values.size() / (has_queries ? 3 : 2));
      const auto keys = values.begin() + (has_queries ? part : 0);
      values.erase(keys, keys + part);
    }
    return result;
  }

  static void expect_same_run(const std::vector<StepMetrics>& found, const std::vector<StepMetrics>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, expected[i].loss, kBetweenMeshes * expected[i].loss) << "step " << i + 1;
      EXPECT_NEAR(found[i].grad_norm, expected[i].grad_norm, kAfterManySteps * expected[i].grad_norm)
          << "step " << i + 1;
    }
  }

  static double scalar(const StepMetrics& line, const std::string& name) {
    for (const auto& [key, value] : line.scalars) {
      if (key == name) return value;
    }
    ADD_FAILURE() << "there is no " << name;
    return -1;
  }

  bool answers() const { return std::string(GetParam()) == "answer"; }
  std::filesystem::path half() const { return answers() ? sets().questions : sets().half; }
  std::filesystem::path other_texts() const { return answers() ? sets().other_questions : sets().other_texts; }
  bool contrasts() const { return std::string(GetParam()) == "contrastive" || std::string(GetParam()) == "coca"; }

  ScratchFolder folder_;
};

// Meshes whose second half of the data-parallel ranks sees texts alone, in all microbatches.
const auto kMeshes = fewer_if_sanitized<std::pair<MeshShape, int>>(
    {{{.dp = 2}, 1}, {{.dp = 2}, 2}, {{.dp = 4}, 2}, {{.dp = 2, .tp = 2}, 1}, {{.pp = 2, .dp = 2}, 2}}, 4);

// For 50 steps; under the address sanitizer, too few of them to learn much.
TEST_P(Modalities, RanksThatNeverHaveAnImageLeaveTheRunOfOneRank) {
  const auto data = std::make_shared<const Dataset>(Dataset::open(half()));
  const SampleOrder order(kSeed, data->size(), kBatch);
  for (uint64_t p = 0; p < kBatch * kSteps; ++p) {
    const bool has_image = data->record(order.sample_at(p)).has_image();
    ASSERT_EQ(has_image, p % kBatch < kBatch / 2) << "what the test is about, at position " << p;
  }
  const std::vector<StepMetrics> expected = run(config("one", half()));
  ASSERT_EQ(expected.size(), kSteps);
  const auto mean_loss = [&](std::size_t first) {
    double sum = 0;
    for (std::size_t i = first; i < first + 10; ++i) sum += expected[i].loss / 10;
    return sum;
  };
  EXPECT_TRUE(kIsSanitized || mean_loss(kSteps - 10) < 0.98 * mean_loss(0)) << "it learns";
  for (const auto& [mesh, microbatches] : kMeshes) {
    const std::string dir = fmt::format("pp{}dp{}tp{}m{}", mesh.pp, mesh.dp, mesh.tp, microbatches);
    SCOPED_TRACE(dir);
    expect_same_run(run(config(dir, half(), mesh, {fmt::format("parallel.microbatches={}", microbatches)})), expected);
    const auto one = weights("one"), many = weights(dir);
    ASSERT_EQ(many.size(), one.size());
    for (const auto& [name, values] : one) EXPECT_LT(relative_error(many.at(name), values), kAfterManySteps) << name;
  }
}

// What a sample says that lacks its image changes no bit of what is learned; a question is answered without its image.
TEST_P(Modalities, TheTextOfASampleWithoutItsImageTeachesOnlyAnswers) {
  const std::vector<StepMetrics> one = run(config("half", half(), {.dp = 2}));
  const std::vector<StepMetrics> other = run(config("other", other_texts(), {.dp = 2}));
  ASSERT_EQ(one.size(), other.size());
  if (answers()) {
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NE(one[i].loss, other[i].loss) << "step " << i + 1;
    return;
  }
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].loss, other[i].loss) << "step " << i + 1;
    EXPECT_EQ(one[i].grad_norm, other[i].grad_norm) << "step " << i + 1;
    EXPECT_EQ(one[i].scalars, other[i].scalars) << "step " << i + 1;
  }
  EXPECT_EQ(weights("half"), weights("other"));
}

// The pairs of each step, counted by hand; a run on another mesh hides the same, and one that goes on as well.
TEST_P(Modalities, DropoutOfModalitiesIsAlikeOnEveryMeshAndWhereverARunStopped) {
  const std::vector<std::string> dropout{"data.modality_dropout.image=0.3", "data.modality_dropout.text=0.2",
                                         "training.stop_after=12", "checkpoint.every=5", "checkpoint.keep=0"};
  const std::vector<StepMetrics> expected = run(config("one", half(), {}, dropout));
  const std::vector<StepMetrics> without = run(config("without", half(), {}, {"training.stop_after=12"}));
  ASSERT_EQ(expected.size(), 12u);
  bool differs = false;
  for (std::size_t i = 0; i < expected.size(); ++i) differs = differs || expected[i].loss != without[i].loss;
  EXPECT_TRUE(differs);
  const auto data = std::make_shared<const Dataset>(Dataset::open(half()));
  const SampleOrder order(kSeed, data->size(), kBatch);
  double num_pairs = 0;
  for (std::size_t step = 0; contrasts() && step < expected.size(); ++step) {
    int pairs = 0;
    for (uint64_t p = step * kBatch; p < (step + 1) * kBatch; ++p) {
      const SampleRecord record = data->record(order.sample_at(p));
      pairs += shown_parts(record, {.image = 0.3, .text = 0.2}, kSeed, p) == SampleParts::kAll ? 1 : 0;
    }
    EXPECT_EQ(scalar(expected[step], "pairs"), pairs) << "step " << step + 1;
    EXPECT_TRUE(pairs >= 2 || std::string(GetParam()) == "coca" || expected[step].loss == 0) << "step " << step + 1;
    num_pairs += pairs;
  }
  EXPECT_TRUE(!contrasts() || (num_pairs > 10 && num_pairs < 40)) << num_pairs << " of at most 48";
  for (const auto& [mesh, microbatches] : kMeshes) {
    const std::string dir = fmt::format("pp{}dp{}tp{}m{}", mesh.pp, mesh.dp, mesh.tp, microbatches);
    SCOPED_TRACE(dir);
    std::vector<std::string> overrides = dropout;
    overrides.push_back(fmt::format("parallel.microbatches={}", microbatches));
    const std::vector<StepMetrics> found = run(config(dir, half(), mesh, overrides));
    expect_same_run(found, expected);
    for (std::size_t i = 0; contrasts() && i < found.size(); ++i) {
      EXPECT_EQ(scalar(found[i], "pairs"), scalar(expected[i], "pairs"));
    }
  }
  const std::vector<StepMetrics> again = run(config("one", half(), {}, dropout), {.resume = "5"});
  ASSERT_EQ(again.size(), expected.size());
  for (std::size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i].loss, expected[i].loss) << "step " << i + 1;
}

TEST_P(Modalities, AnotherShareOfDropoutIsAnotherRun) {
  run(config("run", half(), {}, {"training.stop_after=1"}));
  const RunConfig other = config("run", half(), {}, {"training.stop_after=2", "data.modality_dropout.text=0.2"});
  try {
    run(other, {.resume = "latest"});
    ADD_FAILURE() << "was not refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("--allow-change data.modality_dropout.text"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(run(other, {.resume = "latest", .allow_change = {"data.modality_dropout.text"}}).size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(Tasks, Modalities, ::testing::ValuesIn(kTasks),
                         [](const auto& task) { return std::string(task.param); });

}  // namespace
}  // namespace triptych::test
